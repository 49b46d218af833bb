"""Results that grow segment by segment: of a recording, and of audio that is still coming."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from toolkit.audio.waves import Cutter, Resampler, through
from toolkit.corpus.targets import LABEL
from toolkit.errors import PredictionError, ToolkitError
from toolkit.inference.bundle.config import Usage
from toolkit.inference.predict.predictions import Prediction
from toolkit.inference.predict.recordings import AnyRecording, mono, whole_rate
from toolkit.statistics.utterance_means import UtteranceMeans

_ONE = np.zeros(1, dtype=np.int64)  # the index of the only recording in its UtteranceMeans


class RecordingResult:
    """What has been computed for one recording so far."""

    def __init__(self, recording: AnyRecording, usage: Usage, hop_samples: int):
        self.recording, self.usage, self.hop_samples = recording, usage, hop_samples
        self.covariates: dict[str, int] = {}  # class indices, once they have been checked
        self.waiting = 0  # segments that have been cut but not added
        self.read = False  # whether the last segment has been cut
        self.error: ToolkitError | None = None  # why it cannot be labelled
        self._scores, self._embeddings = UtteranceMeans(), UtteranceMeans()
        self.segments: list[Prediction] = []
        self._start = self._stop = 0  # where the next segment starts and the last one ends

    @property
    def done(self) -> bool:
        """Whether nothing more is to come."""
        return self.error is not None or (self.read and not self.waiting)

    def add(self, samples: int, scores: np.ndarray, embeddings: Mapping[str, np.ndarray]) -> None:
        """Add the next segment: its length, log-probabilities [classes], embeddings name -> [size]."""
        self.waiting -= 1
        if not np.isfinite(scores).all():
            self.error = PredictionError(f"{self.recording.name}: the system's scores are not finite")
            return
        weights = np.array([samples if self.usage.audio.tail == "weighted" else 1])
        self._scores.add(_ONE, weights, {LABEL: scores[None]})
        self._embeddings.add(_ONE, weights, {name: values[None] for name, values in embeddings.items()})
        self._stop = self._start + samples
        self.segments.append(self._predicted(self._start, scores.astype(np.float64)))
        self._start += self.hop_samples

    def prediction(self) -> Prediction:
        """The prediction for the segments so far; PredictionError if there is none."""
        if not self._stop:
            raise PredictionError(f"{self.recording.name}: no segment has been labelled")
        return self._predicted(0, self._scores[LABEL][0], tuple(self.segments))

    def embeddings(self) -> dict[str, np.ndarray]:
        """The mean of every embedding, once it is done: [size], float32."""
        return {name: self._embeddings[name][0].astype(np.float32) for name in self._embeddings.names}

    def _predicted(self, start: int, scores: np.ndarray, segments: tuple[Prediction, ...] = ()) -> Prediction:
        """The prediction that scores give for the samples from `start` to the end of the last segment."""
        target, rate = self.usage.target, self.usage.audio.sample_rate
        start_s, end_s = ((self.recording.start_s or 0.0) + sample / rate for sample in (start, self._stop))
        probabilities = target.named(target.probabilities(scores))
        return Prediction(probabilities, start_s=start_s, end_s=end_s, segments=segments)


Compute = Callable[[list[tuple[RecordingResult, Tensor]]], None]


class Stream:
    """A stream of audio that `Model.stream` labels; for one thread, in constant memory.

    Each segment is computed alone, so that predictions are those of `Model.predict_many(..., batch_size=1)` to the bit.
    """

    def __init__(self, result: RecordingResult, compute: Compute, sample_rate: int):
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
        waves = self._resampler.add(mono(samples, chunk=True))
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
            self._result.waiting += 1
            self._compute([(self._result, torch.from_numpy(wave))])
            if self._result.error is not None:
                self._ended = True
                raise self._result.error
        found, self._result.segments = self._result.segments, []
        return found
