"""A trained system in use: audio in, segment by segment in constant memory, predictions out."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from toolkit.audio.waves import Cutter, Resampler, through
from toolkit.data.segments import padded_waves
from toolkit.errors import PredictionError, ToolkitError
from toolkit.hardware import available_device
from toolkit.inference.bundle.config import Usage
from toolkit.inference.predict.covariates import class_indices
from toolkit.inference.predict.predictions import Prediction
from toolkit.inference.predict.recordings import AnyRecording, Recording, mono, recording_of, whole_rate
from toolkit.model.seen import UNSEEN, Seen
from toolkit.model.system import System
from toolkit.recipe.schema import AudioSpec
from toolkit.statistics.confidence import read_rule

BATCH_SIZE = 16


def segment_waves(recording: AnyRecording, audio: AudioSpec, hop_samples: int | None = None) -> Iterator[Tensor]:
    """Cut a recording into segments, each the mean of its channels: [samples], float32; errors as for `read_audio`."""
    cutter = Cutter(segment_samples=audio.segment_samples, hop_samples=hop_samples)
    return map(torch.from_numpy, through(cutter, recording.waves(audio.sample_rate)))


class RecordingResult:
    """What has been computed for one recording so far."""

    def __init__(self, recording: AnyRecording, usage: Usage, hop_samples: int):
        self.recording, self.usage, self.hop_samples = recording, usage, hop_samples
        self.covariates: dict[str, int] = {}  # class indices, once they have been checked
        self.error: ToolkitError | None = None  # why it cannot be labelled
        self.segments: list[Prediction] = []
        self._weight, self._scores = 0, np.zeros(1)  # sums over segments, in float64
        self._embeddings: dict[str, np.ndarray] = {}
        self._start = self._stop = 0  # where the next segment starts and the last one ends

    def add(self, samples: int, scores: np.ndarray, embeddings: Mapping[str, np.ndarray]) -> None:
        """Add the next segment: its length, log-probabilities [classes], embeddings name -> [size]."""
        if not np.isfinite(scores).all():
            self.error = PredictionError(f"{self.recording.name}: the system's scores are not finite")
            return
        scores, weight = scores.astype(np.float64), samples if self.usage.audio.tail == "weighted" else 1
        self._weight += weight
        self._scores = self._scores + weight * scores
        for name, values in embeddings.items():
            self._embeddings[name] = self._embeddings.get(name, 0.0) + weight * values.astype(np.float64)
        self._stop = self._start + samples
        self.segments.append(self._predicted(self._start, scores))
        self._start += self.hop_samples

    def prediction(self) -> Prediction:
        """The prediction for the segments so far; PredictionError if there is none."""
        if not self._stop:
            raise PredictionError(f"{self.recording.name}: no segment has been labelled")
        return self._predicted(0, self._scores / self._weight, tuple(self.segments))

    def embeddings(self) -> dict[str, np.ndarray]:
        """The mean of every embedding, once it is done: [size], float32."""
        return {name: (sums / self._weight).astype(np.float32) for name, sums in self._embeddings.items()}

    def _predicted(self, start: int, scores: np.ndarray, segments: tuple[Prediction, ...] = ()) -> Prediction:
        """The prediction that scores give for the samples from `start` to the end of the last segment."""
        target, rate = self.usage.target, self.usage.audio.sample_rate
        start_s, end_s = ((self.recording.start_s or 0.0) + sample / rate for sample in (start, self._stop))
        probabilities = dict(zip(target.classes, target.probabilities(scores).tolist(), strict=True))
        return Prediction(probabilities, start_s=start_s, end_s=end_s, segments=segments)


class Stream:
    """A stream of audio that `Model.stream` labels; for one thread, in constant memory.

    Each segment is computed alone, so that predictions are those of `Model.predict_many(..., batch_size=1)` to the bit.
    """

    def __init__(self, result: RecordingResult, compute: Callable[[list], None], sample_rate: int):
        audio = result.usage.audio
        self._result, self._compute, self._ended = result, compute, False
        self._resampler = Resampler(whole_rate(sample_rate), audio.sample_rate)
        self._cutter = Cutter(segment_samples=audio.segment_samples, hop_samples=result.hop_samples)

    def add(self, samples: Any) -> list[Prediction]:
        """Take the next chunk and label the segments that it completes, in order.

        Args: samples: as for `Model.predict`, any number of them.
        Raises: as for `Model.predict`; PredictionError after `end`.
        """
        if self._ended:
            raise PredictionError("The stream has ended; model.stream(sample_rate) begins another")
        if 0 in np.shape(samples):
            return []
        waves = self._resampler.add(mono(samples))
        return self._labelled(segment for wave in waves for segment in self._cutter.add(wave))

    def end(self) -> list[Prediction]:
        """Label what is left after the last chunk."""
        if self._ended:
            return []
        self._ended = True
        return self._labelled(through(self._cutter, self._resampler.end()))

    def prediction(self) -> Prediction:
        """The prediction for everything labelled so far, without its segments; PredictionError if there is nothing."""
        return self._result.prediction()

    def _labelled(self, segments: Iterable[np.ndarray]) -> list[Prediction]:
        for wave in segments:
            self._compute([(self._result, torch.from_numpy(wave))])
            if self._result.error is not None:
                self._ended = True
                raise self._result.error
        found, self._result.segments = self._result.segments, []
        return found


class Model:
    """A trained system with everything needed to use it.

    Several threads may use one model: they read audio side by side and compute one after the other.

    Args: system: with its weights; it is put into evaluation mode and onto the device; usage: how audio goes in and
        what comes out; device: by default a GPU if there is one; seen: what trained it, if known.
    Raises: ToolkitError if the device does not exist.
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
        return next(self.predict_many([recording_of(audio, sample_rate, covariates)], hop_s=hop_s))

    def predict_many(
        self, recordings: Iterable[Any], *, batch_size: int = BATCH_SIZE, hop_s: float | None = None
    ) -> Iterator[Prediction]:
        """Label recordings one after the other, segments of several at a time.

        Args: recordings: each as for `predict`, or a `Recording` or `Samples` of predict.recordings; each is read when
            its turn comes, so there may be endlessly many; batch_size: segments in a batch, and the most that are held.
        Yields: a prediction for each, in order.
        Raises: ToolkitError as for `predict`, at the first recording that cannot be labelled.
        """
        for _, result in self.results(recordings, batch_size=batch_size, hop_s=hop_s):
            if isinstance(result, ToolkitError):
                raise result
            yield result

    def results(
        self, recordings: Iterable[Any], *, batch_size: int = BATCH_SIZE, hop_s: float | None = None
    ) -> Iterator[tuple[AnyRecording, Prediction | ToolkitError]]:
        """Label recordings as `predict_many`; yield each with its prediction, or with the error if it has none."""
        if isinstance(recordings, str):
            raise PredictionError(f"{recordings!r} is one path: give a list of them, or call `predict`")
        inputs = (r if isinstance(r, AnyRecording) else recording_of(r) for r in recordings)
        for result in self._results(inputs, batch_size=batch_size, hop_s=hop_s):
            yield result.recording, result.error or result.prediction()

    def stream(
        self, sample_rate: int, *, hop_s: float | None = None, covariates: Mapping[str, str] | None = None
    ) -> Stream:
        """Label audio that is still coming, in chunks; arguments and errors are those of `predict`."""
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

        Arguments and errors are those of `predict`. Returns: "fused" and each level -> [size], float32.
        """
        recording = recording_of(audio, sample_rate, covariates)
        (result,) = self._results([recording], batch_size=BATCH_SIZE, hop_s=hop_s, embeddings=True)
        if result.error is not None:
            raise result.error
        return result.embeddings()

    def _results(
        self, recordings: Iterable[AnyRecording], *, batch_size: int, hop_s: float | None, embeddings: bool = False
    ) -> Iterator[RecordingResult]:
        """Compute recordings, with segments of several in one batch; yield each result when it is done, in order.

        No more than `batch_size` segments are held, however many or long the recordings are.
        """
        hop_samples = self.usage.hop_samples(hop_s)
        batch: list[tuple[RecordingResult, Tensor]] = []
        read: list[RecordingResult] = []  # to their ends, but their last segments wait in the batch
        for recording in recordings:
            result = RecordingResult(recording, self.usage, hop_samples)
            for wave in _segments(result):
                batch.append((result, wave))
                if len(batch) == batch_size:
                    self._compute(batch, embeddings)
                    yield from read
                    read.clear()
            read.append(result)
            if not batch or len(read) > batch_size:  # many that failed wait behind one that did not
                self._compute(batch, embeddings)
                yield from read
                read.clear()
        self._compute(batch, embeddings)
        yield from read

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
        yield from segment_waves(recording, usage.audio, result.hop_samples)
    except PredictionError as error:
        result.error = PredictionError(f"{recording.name}: {error}")
    except ToolkitError as error:
        result.error = error
