"""The computing behind a Model: segments of recordings in batches, the results of recordings in order."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch

from toolkit.corpus.targets import LABEL
from toolkit.data.segments import padded_waves
from toolkit.errors import PredictionError, ToolkitError
from toolkit.inference.predict.covariates import class_indices
from toolkit.inference.predict.predictions import Prediction
from toolkit.inference.predict.recordings import Recording, Samples
from toolkit.inference.predict.stream import StreamedSegment, streamed_segments
from toolkit.inference.usage import Usage
from toolkit.model.system import System
from toolkit.statistics.utterance_means import UtteranceMeans

BATCH_SIZE = 16
_ONE = np.zeros(1, dtype=np.int64)  # the index of the only recording in its UtteranceMeans


class RecordingResult:
    """What has been computed of one recording so far.

    Args:
        recording: what is labelled.
        usage: of the system.

    Attributes:
        covariates: name -> class index, once they have been checked.
        waiting: segments that are read and not yet computed.
        read: whether the last segment has been read.
        error: why it cannot be labelled.
    """

    def __init__(self, recording: Recording | Samples, usage: Usage):
        self.recording, self._usage = recording, usage
        self.covariates: dict[str, int] = {}
        self.waiting, self.read = 0, False
        self.error: ToolkitError | None = None
        self._scores, self._embeddings = UtteranceMeans(), UtteranceMeans()
        self._segments: list[tuple[int, int, np.ndarray]] = []  # start, stop, scores

    @property
    def done(self) -> bool:
        """Whether nothing more is to come."""
        return self.error is not None or (self.read and not self.waiting)

    def add(self, segment: StreamedSegment, scores: np.ndarray, embeddings: Mapping[str, np.ndarray]) -> None:
        """Add a computed segment: log-probabilities [classes], embeddings name -> [size]."""
        self.waiting -= 1
        if not np.isfinite(scores).all():
            self.error = PredictionError(f"{self.recording.name}: the system's scores are not finite")
            return
        weights = np.array([len(segment.wave) if self._usage.tail == "weighted" else 1])
        self._scores.add(_ONE, weights, {LABEL: scores[None]})
        self._embeddings.add(_ONE, weights, {name: values[None] for name, values in embeddings.items()})
        self._segments.append((segment.start, segment.stop, scores.astype(np.float64)))

    def prediction(self) -> Prediction:
        """The prediction, once it is done."""

        def predicted(start: int, stop: int, scores: np.ndarray, segments: tuple[Prediction, ...] = ()) -> Prediction:
            target, rate = self._usage.target, self._usage.sample_rate
            start_s, end_s = (self.recording.offset_s + sample / rate for sample in (start, stop))
            probabilities = target.named(target.probabilities(scores))
            return Prediction(probabilities, start_s=start_s, end_s=end_s, segments=segments)

        segments = tuple(predicted(*segment) for segment in self._segments)
        return predicted(0, self._segments[-1][1], self._scores[LABEL][0], segments)

    def embeddings(self) -> dict[str, np.ndarray]:
        """The mean of every embedding, once it is done: [size], float32."""
        return {name: self._embeddings[name][0].astype(np.float32) for name in self._embeddings.names}


class Engine:
    """A system on a device, which computes recordings; several threads may use one.

    Args:
        system: with its weights; it is put into evaluation mode and onto the device.
        usage: how audio goes in and what comes out.
        device: as torch names it.
    """

    def __init__(self, system: System, usage: Usage, device: str):
        self.system, self.usage, self.device = system.eval().to(device), usage, device
        self.fixed_samples = system.fixed_samples
        self._lock = threading.Lock()  # a plugin may keep something of a call on itself

    def results(
        self, recordings: Iterable[Recording | Samples], *, batch_size: int = BATCH_SIZE, embeddings: bool = False
    ) -> Iterator[RecordingResult]:
        """Compute recordings, segments of several of them in one batch.

        No more than `batch_size` segments are held, however many or long the recordings are.

        Args:
            recordings: each is read when its turn comes.
            batch_size: segments in a batch.
            embeddings: whether to keep them beside the scores.

        Yields:
            The result of each recording when it is done, in order.
        """
        if batch_size < 1:
            raise PredictionError(f"batch_size is {batch_size}; a batch holds at least one segment")
        undone: deque[RecordingResult] = deque()
        batch: list[tuple[RecordingResult, StreamedSegment]] = []
        for recording in recordings:
            result = RecordingResult(recording, self.usage)
            undone.append(result)
            try:
                for segment in self._segments(result):
                    batch.append((result, segment))
                    if len(batch) == batch_size:
                        self._compute(batch, embeddings)
                        yield from _done(undone)
            except ToolkitError as error:
                result.error = error
            if result.error is not None:
                batch = [(other, segment) for other, segment in batch if other is not result]
            result.read = True
            if len(undone) > batch_size:  # failed ones behind one that waits for its batch to be full
                self._compute(batch, embeddings)
            yield from _done(undone)
        self._compute(batch, embeddings)
        yield from _done(undone)

    def _segments(self, result: RecordingResult) -> Iterator[StreamedSegment]:
        """Read the segments of a recording, until it fails."""
        recording, usage = result.recording, self.usage
        try:
            result.covariates = class_indices(usage.covariates, recording.covariates)
        except PredictionError as error:
            raise PredictionError(f"{recording.name}: {error}") from None
        for segment in streamed_segments(
            recording, sample_rate=usage.sample_rate, segment_samples=usage.segment_samples
        ):
            result.waiting += 1
            yield segment
            if result.error is not None:
                return

    def _compute(self, batch: list[tuple[RecordingResult, StreamedSegment]], embeddings: bool) -> None:
        """Run the system on a batch, add what it gives to the results, and empty the batch."""
        if not batch:
            return
        wave = padded_waves([segment.wave for _, segment in batch], fixed_samples=self.fixed_samples)
        covariates = {
            name: torch.tensor([result.covariates[name] for result, _ in batch], device=self.device)
            for name in self.usage.covariates
        }
        with self._lock, torch.no_grad():
            output = self.system(wave.to(self.device), covariates)
        scores = self.usage.target.scores(output.logits[self.usage.predict_from]).cpu().numpy()
        kept = output.embeddings if embeddings else {}
        embedded = {name: values.float().cpu().numpy() for name, values in kept.items()}
        for row, (result, segment) in enumerate(batch):
            result.add(segment, scores[row], {name: values[row] for name, values in embedded.items()})
        batch.clear()


def _done(undone: deque[RecordingResult]) -> Iterator[RecordingResult]:
    while undone and undone[0].done:
        yield undone.popleft()
