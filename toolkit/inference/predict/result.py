"""From a recording to its segments, block by block in constant memory, and from their scores to a prediction."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from toolkit.audio.reading import BLOCK_VALUES, stretch
from toolkit.audio.waves import cut_waves, resampled, waves
from toolkit.corpus.targets import LABEL
from toolkit.errors import PredictionError, ToolkitError
from toolkit.inference.bundle.config import Usage
from toolkit.inference.predict.predictions import Prediction
from toolkit.inference.predict.recordings import Recording, Samples
from toolkit.recipe.schema import AudioSpec
from toolkit.statistics.utterance_means import UtteranceMeans

_ONE = np.zeros(1, dtype=np.int64)  # the index of the only recording in its UtteranceMeans


def segment_waves(recording: Recording | Samples, audio: AudioSpec) -> Iterator[Tensor]:
    """Cut a recording into segments without overlap, the last one perhaps shorter.

    Yields: the mean of the channels: [samples], float32.
    Raises: AudioError as `toolkit.audio.waves.read_audio`; what only decoding shows, after the segments before it.
    """
    if isinstance(recording, Samples):
        pieces = np.array_split(recording.values, len(recording.values) // BLOCK_VALUES + 1)
        blocks = map(torch.from_numpy, resampled(pieces, recording.sample_rate, audio.sample_rate))
    else:
        file = stretch(recording.path, start_s=recording.start_s, end_s=recording.end_s)
        blocks = waves(file, audio.sample_rate)
    return cut_waves(blocks, segment_samples=audio.segment_samples)


class RecordingResult:
    """What has been computed of one recording so far."""

    def __init__(self, recording: Recording | Samples, usage: Usage):
        self.recording, self._usage = recording, usage
        self.covariates: dict[str, int] = {}  # class indices, once they have been checked
        self.waiting, self.read = 0, False  # segments that are read and not yet computed; whether the last one is read
        self.error: ToolkitError | None = None  # why it cannot be labelled
        self._scores, self._embeddings = UtteranceMeans(), UtteranceMeans()
        self._segments: list[tuple[int, int, np.ndarray]] = []  # start, stop, scores

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
        weights = np.array([samples if self._usage.audio.tail == "weighted" else 1])
        self._scores.add(_ONE, weights, {LABEL: scores[None]})
        self._embeddings.add(_ONE, weights, {name: values[None] for name, values in embeddings.items()})
        start = self._segments[-1][1] if self._segments else 0
        self._segments.append((start, start + samples, scores.astype(np.float64)))

    def prediction(self) -> Prediction:
        """The prediction, once it is done."""

        def predicted(start: int, stop: int, scores: np.ndarray, segments: tuple[Prediction, ...] = ()) -> Prediction:
            target, rate = self._usage.target, self._usage.audio.sample_rate
            start_s, end_s = ((self.recording.start_s or 0.0) + sample / rate for sample in (start, stop))
            probabilities = target.named(target.probabilities(scores))
            return Prediction(probabilities, start_s=start_s, end_s=end_s, segments=segments)

        segments = tuple(predicted(*segment) for segment in self._segments)
        return predicted(0, self._segments[-1][1], self._scores[LABEL][0], segments)

    def embeddings(self) -> dict[str, np.ndarray]:
        """The mean of every embedding, once it is done: [size], float32."""
        return {name: self._embeddings[name][0].astype(np.float32) for name in self._embeddings.names}
