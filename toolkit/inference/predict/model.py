"""A trained system in use: audio in, segment by segment in constant memory, predictions out."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from toolkit.audio.reading import BLOCK_VALUES, stretch
from toolkit.audio.waves import Cutter, Resampler, through, waves
from toolkit.data.segments import padded_waves
from toolkit.errors import PredictionError, ToolkitError
from toolkit.hardware import available_device
from toolkit.inference.bundle.config import Usage
from toolkit.inference.predict.covariates import class_indices
from toolkit.inference.predict.predictions import Prediction
from toolkit.inference.predict.recordings import AnyRecording, Encoded, Recording, Samples, recording_of
from toolkit.inference.predict.results import RecordingResult, Stream
from toolkit.model.seen import UNSEEN, Seen
from toolkit.model.system import System
from toolkit.recipe.schema import AudioSpec
from toolkit.statistics.abstention import read_rule

BATCH_SIZE = 16


def segment_waves(recording: AnyRecording, audio: AudioSpec, hop_samples: int | None = None) -> Iterator[Tensor]:
    """Cut a recording into segments, as `toolkit.audio.waves.Cutter` does.

    Yields: each segment, the mean of its channels: [samples], float32.
    Raises: AudioError as `toolkit.audio.waves.read_audio`; if decoding fails, after the segments before that place.
    """
    cutter = Cutter(segment_samples=audio.segment_samples, hop_samples=hop_samples)
    if isinstance(recording, Samples):
        pieces = np.array_split(recording.values, len(recording.values) // BLOCK_VALUES + 1)
        resampler = Resampler(recording.sample_rate, audio.sample_rate)
        yield from map(torch.from_numpy, through(cutter, through(resampler, pieces)))
    elif isinstance(recording, Encoded):
        with recording.as_file() as path:
            yield from map(torch.from_numpy, through(cutter, waves(stretch(path), audio.sample_rate)))
    else:
        file = stretch(recording.path, start_s=recording.start_s, end_s=recording.end_s)
        yield from map(torch.from_numpy, through(cutter, waves(file, audio.sample_rate)))


class Model:
    """A trained system with everything needed to use it.

    Several threads may use one model: they read audio side by side and compute one after the other.

    Args: system: with its weights; it is put into evaluation mode and onto the device; usage: how audio goes in and
        what comes out; device: by default a GPU if there is one; seen: what trained it, if its bundle tells.
    Raises: DeviceError if the device does not exist.
    """

    def __init__(self, system: System, usage: Usage, *, device: str | None = None, seen: Seen = UNSEEN):
        self.usage, self.seen = usage, seen
        self.device = available_device(device, setting="device")
        self._system = system.eval().to(self.device)
        self._lock = threading.Lock()  # a plugin may keep state on itself during a call

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the probabilities."""
        return self.usage.labels

    def threshold(self, rule: str | float) -> float:
        """The confidence for `Prediction.label_above` that a rule stands for: coverage:0.8, error:0.1, or a confidence.

        Raises: PredictionError if the rule is unknown, or the system's validation part cannot promise it.
        """
        return self.usage.confidence.threshold(*read_rule(str(rule)))

    def predict(
        self,
        audio: Any,
        *,
        sample_rate: int | None = None,
        covariates: Mapping[str, str] | None = None,
        hop_s: float | None = None,
    ) -> Prediction:
        """Label one recording.

        Args: audio: the path of a file; its bytes, or a binary file object, which is read to its end; or a numpy array
            or torch tensor of floating-point numbers with full scale at 1, [samples] or [channels, samples];
            sample_rate: of an array, in Hz; files state their own; covariates: name -> value, for those that the system
            needs with every recording; hop_s: from the start of a segment to that of the next, in seconds; by default
            segments do not overlap.
        Raises: AudioError if the audio cannot be read, is empty, holds NaN or is far above full scale; ShapeError if an
            array has another shape; PredictionError if it is none of these, its sample rate or a covariate is missing
            or unknown, or the hop is not above 0 or is longer than a segment.
        """
        return self._result(recording_of(audio, sample_rate, covariates), hop_s).prediction()

    def predict_many(
        self,
        recordings: Iterable[Any],
        *,
        batch_size: int = BATCH_SIZE,
        hop_s: float | None = None,
    ) -> Iterator[Prediction]:
        """Label recordings one after the other, segments of several at a time.

        Args: recordings: each as for `predict`, or a `Recording`, `Samples` or `Encoded` of predict.recordings; each is
            read when its turn comes, so there may be endlessly many; batch_size: segments in a batch, and the most that
            are held; hop_s: as for `predict`.
        Yields: a prediction for each, in order.
        Raises: ToolkitError as for `predict`, at the first recording that cannot be labelled.
        """
        for _, result in self.results(recordings, batch_size=batch_size, hop_s=hop_s):
            if isinstance(result, ToolkitError):
                raise result
            yield result

    def results(
        self,
        recordings: Iterable[Any],
        *,
        batch_size: int = BATCH_SIZE,
        hop_s: float | None = None,
    ) -> Iterator[tuple[AnyRecording, Prediction | ToolkitError]]:
        """Label recordings as `predict_many` does, but go on after those that cannot be labelled.

        Yields: each recording with its prediction, or with the error.
        """
        if isinstance(recordings, str):
            raise PredictionError(f"{recordings!r} is one path: give a list of them, or call `predict`")
        inputs = (r if isinstance(r, AnyRecording) else recording_of(r) for r in recordings)
        for result in self._results(inputs, batch_size=batch_size, hop_s=hop_s):
            yield result.recording, result.error or result.prediction()

    def stream(
        self, sample_rate: int, *, hop_s: float | None = None, covariates: Mapping[str, str] | None = None
    ) -> Stream:
        """Label audio that is still coming; arguments and errors are those of `predict`.

        Returns: a `Stream`: it takes audio in chunks and gives the predictions that `predict` gives for its segments.
        """
        recording = Recording(Path(), covariates=covariates or {}, name="the stream")
        result = RecordingResult(recording, self.usage, self.usage.hop_samples(hop_s))
        result.covariates = class_indices(self.usage.covariates, recording.covariates)
        return Stream(result, self._compute, sample_rate)

    def embed(
        self,
        audio: Any,
        *,
        sample_rate: int | None = None,
        covariates: Mapping[str, str] | None = None,
        hop_s: float | None = None,
    ) -> dict[str, np.ndarray]:
        """The embeddings of a recording, which the heads read: means over segments, weighted as for predictions.

        Args and errors are those of `predict`.

        Returns: "fused" and each level -> [size], float32.
        """
        return self._result(recording_of(audio, sample_rate, covariates), hop_s, embeddings=True).embeddings()

    def _result(self, recording: AnyRecording, hop_s: float | None, *, embeddings: bool = False) -> RecordingResult:
        (result,) = self._results([recording], batch_size=BATCH_SIZE, hop_s=hop_s, embeddings=embeddings)
        if result.error is not None:
            raise result.error
        return result

    def _results(
        self,
        recordings: Iterable[AnyRecording],
        *,
        batch_size: int,
        hop_s: float | None,
        embeddings: bool = False,
    ) -> Iterator[RecordingResult]:
        """Compute recordings, with segments of several in one batch; yield each result when it is done, in order.

        No more than `batch_size` segments are held, however many or long the recordings are.
        """
        if batch_size < 1:
            raise PredictionError(f"batch_size is {batch_size}; a batch holds at least one segment")
        hop_samples = self.usage.hop_samples(hop_s)
        undone: deque[RecordingResult] = deque()
        batch: list[tuple[RecordingResult, Tensor]] = []
        for recording in recordings:
            result = RecordingResult(recording, self.usage, hop_samples)
            undone.append(result)
            for wave in _segments(result):
                batch.append((result, wave))
                if len(batch) == batch_size:
                    self._compute(batch, embeddings)
                    yield from _done(undone)
                if result.error is not None:
                    break
            result.read = True
            if result.error is not None:
                batch = [(other, wave) for other, wave in batch if other is not result]
            if len(undone) > batch_size:  # failed ones, behind one that waits for a full batch
                self._compute(batch, embeddings)
            yield from _done(undone)
        self._compute(batch, embeddings)
        yield from _done(undone)

    def _compute(self, batch: list[tuple[RecordingResult, Tensor]], embeddings: bool = False) -> None:
        """Run the system on a batch, add its output to the results, and empty the batch."""
        if not batch:
            return
        waves = padded_waves([wave for _, wave in batch], fixed_samples=self._system.fixed_samples)
        covariates = {
            name: torch.tensor([result.covariates[name] for result, _ in batch], device=self.device)
            for name in self.usage.covariates
        }
        with self._lock, torch.no_grad():
            output = self._system(waves.to(self.device), covariates)
        scores = self.usage.scores(output.logits[self.usage.predict_from]).cpu().numpy()
        kept = output.embeddings if embeddings else {}
        embedded = {name: values.float().cpu().numpy() for name, values in kept.items()}
        for row, (result, wave) in enumerate(batch):
            result.add(len(wave), scores[row], {name: values[row] for name, values in embedded.items()})
        batch.clear()


def _segments(result: RecordingResult) -> Iterator[Tensor]:
    """Cut a result's recording into segments; an error ends them and is kept in the result."""
    recording, usage = result.recording, result.usage
    try:
        result.covariates = class_indices(usage.covariates, recording.covariates)
        for wave in segment_waves(recording, usage.audio, result.hop_samples):
            result.waiting += 1
            yield wave
    except PredictionError as error:
        result.error = PredictionError(f"{recording.name}: {error}")
    except ToolkitError as error:
        result.error = error


def _done(undone: deque[RecordingResult]) -> Iterator[RecordingResult]:
    while undone and undone[0].done:
        yield undone.popleft()
