"""What has been computed of one recording, gathered from its segments."""

from collections.abc import Mapping

import numpy as np

from toolkit.corpus.targets import LABEL
from toolkit.errors import PredictionError, ToolkitError
from toolkit.inference.predict.predictions import Answer, Prediction
from toolkit.inference.predict.recordings import Recording, Samples
from toolkit.inference.predict.stream import StreamedSegment
from toolkit.inference.usage import Usage
from toolkit.statistics.utterance_means import UtteranceMeans

_ONE = np.zeros(1, dtype=np.int64)  # a tally is of one utterance


class Tally:
    """What has been computed of one recording so far.

    Args:
        recording: the one.
        usage: what its segments were cut and computed by.

    Attributes:
        waiting: segments that are read and not yet computed.
        read: whether there are no more to read.
        error: why it cannot be labelled.
    """

    def __init__(self, recording: Recording | Samples, usage: Usage):
        self.recording, self.sample_rate, self.target = recording, usage.sample_rate, usage.target
        self.waiting, self.read = 0, False
        self.error: ToolkitError | None = None
        self._scores, self._embeddings = UtteranceMeans(), UtteranceMeans()
        self._segments: list[tuple[int, int, np.ndarray]] = []  # start, stop, scores

    @property
    def done(self) -> bool:
        """Whether nothing is to come."""
        return self.error is not None or (self.read and not self.waiting)

    def add(
        self, segment: StreamedSegment, scores: np.ndarray, embeddings: Mapping[str, np.ndarray], weight: float
    ) -> None:
        """Take in a segment: log-probabilities [classes], embeddings [size], its weight in the means."""
        self.waiting -= 1
        if not np.isfinite(scores).all():
            self.error = PredictionError(f"{self.recording.name}: the system's scores are not finite")
            return
        weights = np.array([weight])
        self._scores.add(_ONE, weights, {LABEL: scores[None]})
        self._embeddings.add(_ONE, weights, {name: values[None] for name, values in embeddings.items()})
        self._segments.append((segment.start, segment.stop, scores.astype(np.float64)))

    def prediction(self) -> Prediction:
        """The answer, once it is done."""

        def named(scores: np.ndarray) -> dict[str, float]:
            return self.target.named(self.target.probabilities(scores))

        def seconds(sample: int) -> float:
            return self.recording.offset_s + sample / self.sample_rate

        return Prediction(
            named(self._scores[LABEL][0]),
            start_s=seconds(0),
            end_s=seconds(self._segments[-1][1]),
            segments=tuple(
                Answer(named(scores), start_s=seconds(start), end_s=seconds(stop))
                for start, stop, scores in self._segments
            ),
        )

    def embeddings(self) -> dict[str, np.ndarray]:
        """The mean of every embedding, once it is done: [size]."""
        return {name: self._embeddings[name][0] for name in self._embeddings.names}
