"""Audio that is still coming: chunks in, a prediction for each segment out as soon as the segment is complete."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from toolkit.audio.waves import Cutter, Resampler, through
from toolkit.errors import PredictionError
from toolkit.inference.predict.predictions import Prediction
from toolkit.inference.predict.recordings import mono, whole_rate
from toolkit.inference.predict.results import RecordingResult

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
        waves = map(torch.from_numpy, self._resampler.add(mono(samples, chunk=True)))
        return self._labelled(segment for wave in waves for segment in self._cutter.add(wave))

    def end(self) -> list[Prediction]:
        """Label what is left after the last chunk."""
        if self._ended:
            return []
        self._ended = True
        return self._labelled(through(self._cutter, map(torch.from_numpy, self._resampler.end())))

    def prediction(self) -> Prediction:
        """The prediction for everything labelled so far, without its segments; PredictionError if there is nothing."""
        return self._result.prediction()

    def _labelled(self, segments: Iterable[Tensor]) -> list[Prediction]:
        for wave in segments:
            self._result.waiting += 1
            self._compute([(self._result, wave)])
            if self._result.error is not None:
                self._ended = True
                raise self._result.error
        found, self._result.segments = self._result.segments, []
        return found
