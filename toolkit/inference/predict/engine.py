"""The computing behind a Model: segments of recordings put into batches, results gathered in order."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from toolkit.contracts import ModelOutput
from toolkit.data.segments import padded_waves
from toolkit.errors import PredictionError, ToolkitError
from toolkit.inference.predict.covariate_values import class_indices
from toolkit.inference.predict.recordings import Recording, Samples
from toolkit.inference.predict.stream import StreamedSegment, streamed_segments
from toolkit.inference.predict.tally import Tally
from toolkit.inference.usage import Usage
from toolkit.model.system import System

BATCH_SIZE = 16


@dataclass(frozen=True)
class _Waiting:
    """A segment that is read and not yet computed."""

    tally: Tally
    segment: StreamedSegment
    covariates: Mapping[str, int]


class Engine:
    """A system on a device, fed with recordings; several threads may use one.

    Args:
        system: with its weights; it is put into evaluation mode and onto the device.
        usage: how audio goes in and what comes out.
        device: as torch names it.
    """

    def __init__(self, system: System, usage: Usage, device: str):
        self.system, self.usage, self.device = system.eval().to(device), usage, device
        self.fixed_samples = system.fixed_samples
        self._lock = threading.Lock()  # a plugin may keep something of a call on itself

    def tallies(
        self,
        recordings: Iterable[Recording | Samples],
        *,
        batch_size: int = BATCH_SIZE,
        embeddings: bool = False,
    ) -> Iterator[Tally]:
        """Compute recordings, segments of several of them in one batch.

        No more than `batch_size` segments are held, however many or long the recordings are.

        Args:
            recordings: read when their turn comes.
            batch_size: segments a batch.
            embeddings: whether to gather them beside the scores.

        Yields:
            The tally of each recording, which is done, in order.
        """
        if batch_size < 1:
            raise PredictionError(f"A batch holds one segment at least, not {batch_size}")
        undone: deque[Tally] = deque()
        batch: list[_Waiting] = []
        for recording in recordings:
            tally = Tally(recording, self.usage)
            undone.append(tally)
            try:
                for waiting in self._segments(tally):
                    batch.append(waiting)
                    if len(batch) == batch_size:
                        self._compute(batch, embeddings)
                        yield from _done(undone)
            except ToolkitError as error:
                tally.error = error
            if tally.error is not None:
                batch = [waiting for waiting in batch if waiting.tally is not tally]
            tally.read = True
            if len(undone) > batch_size:  # failed ones behind one that waits for its batch to be full
                self._compute(batch, embeddings)
            yield from _done(undone)
        self._compute(batch, embeddings)
        yield from _done(undone)

    def _segments(self, tally: Tally) -> Iterator[_Waiting]:
        """Read the segments of a recording, until it fails."""
        try:
            covariates = class_indices(self.usage.covariates, tally.recording.covariates)
        except PredictionError as error:
            raise PredictionError(f"{tally.recording.name}: {error}") from None
        for segment in streamed_segments(
            tally.recording, sample_rate=self.usage.sample_rate, segment_samples=self.usage.segment_samples
        ):
            tally.waiting += 1
            yield _Waiting(tally, segment, covariates)
            if tally.error is not None:
                return

    def _compute(self, batch: list[_Waiting], embeddings: bool) -> None:
        """Run the system on what waits, give it to the tallies, and empty the batch."""
        if not batch:
            return
        output = self._run(batch)
        scores = self.usage.target.scores(output.logits[self.usage.predict_from]).cpu().numpy()
        kept = output.embeddings if embeddings else {}
        embedded = {name: values.float().cpu().numpy() for name, values in kept.items()}
        for row, waiting in enumerate(batch):
            of_segment = {name: values[row] for name, values in embedded.items()}
            waiting.tally.add(waiting.segment, scores[row], of_segment, self._weight(waiting.segment))
        batch.clear()

    def _run(self, batch: Sequence[_Waiting]) -> ModelOutput:
        wave = padded_waves([waiting.segment.wave for waiting in batch], fixed_samples=self.fixed_samples)
        covariates = {
            name: torch.tensor([waiting.covariates[name] for waiting in batch], device=self.device)
            for name in self.usage.covariates
        }
        with self._lock, torch.no_grad():
            return self.system(wave.to(self.device), covariates)

    def _weight(self, segment: StreamedSegment) -> float:
        return float(len(segment.wave)) if self.usage.tail == "weighted" else 1.0


def _done(undone: deque[Tally]) -> Iterator[Tally]:
    while undone and undone[0].done:
        yield undone.popleft()
