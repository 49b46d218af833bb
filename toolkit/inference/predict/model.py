"""A trained system that is used: audio in, typed results out."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.errors import PredictionError, ToolkitError
from toolkit.hardware import available_device
from toolkit.inference.predict.engine import BATCH_SIZE, Engine
from toolkit.inference.predict.predictions import Prediction
from toolkit.inference.predict.recordings import Recording, Samples
from toolkit.inference.predict.tally import Tally
from toolkit.inference.usage import Usage
from toolkit.model.system import System


class Model:
    """A trained system with all that has to be known to use it.

    Several threads may use one model: they read audio side by side and compute one after the other.

    Args:
        system: with its weights; it is put into evaluation mode and onto the device.
        usage: how audio goes in and what comes out.
        device: cpu, cuda, cuda:1, ...; a GPU if there is one where not given.

    Raises:
        DeviceError: if there is no such device.
    """

    def __init__(self, system: System, usage: Usage, *, device: str | None = None):
        self.usage = usage
        self.device = available_device(device, setting="device")
        self._engine = Engine(system, usage, self.device)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the probabilities."""
        return self.usage.labels

    def predict(
        self,
        audio: Any,
        *,
        sample_rate: int | None = None,
        covariates: Mapping[str, str] | None = None,
    ) -> Prediction:
        """Label one recording.

        Args:
            audio: the path of a file in any format that libsndfile reads; or a numpy array or torch tensor of
                floating-point numbers with full scale at 1, [samples] or [channels, samples].
            sample_rate: of an array, in Hz; a file knows its own.
            covariates: name -> value, of those that the system has to be given.

        Raises:
            AudioError: if the audio cannot be read, is empty or holds NaN, or an array is far above full scale.
            ShapeError: if an array is of another shape.
            PredictionError: if the sample rate of an array or a covariate is missing or not known.
        """
        return self._one(_recording(audio, sample_rate, covariates)).prediction()

    def predict_many(
        self, recordings: Iterable[Recording | Samples | str | Path], *, batch_size: int = BATCH_SIZE
    ) -> Iterator[Prediction]:
        """Label recordings one after the other, segments of several at a time.

        Args:
            recordings: read when their turn comes; they may be endless.
            batch_size: segments a batch; so much audio is held at a time.

        Yields:
            A prediction for each, in order.

        Raises:
            ToolkitError: as `predict`, at the first recording that cannot be labelled.
        """
        for _, result in self.results(recordings, batch_size=batch_size):
            if isinstance(result, ToolkitError):
                raise result
            yield result

    def results(
        self, recordings: Iterable[Recording | Samples | str | Path], *, batch_size: int = BATCH_SIZE
    ) -> Iterator[tuple[Recording | Samples, Prediction | ToolkitError]]:
        """The same, going on after recordings that cannot be labelled.

        Yields:
            Each recording with its prediction, or with the error.
        """
        for tally in self._engine.tallies(map(_as_recording, recordings), batch_size=batch_size):
            yield tally.recording, tally.error or tally.prediction()

    def embed(
        self,
        audio: Any,
        *,
        sample_rate: int | None = None,
        covariates: Mapping[str, str] | None = None,
    ) -> dict[str, np.ndarray]:
        """What the system makes of a recording before its heads: means over segments, weighted as for predictions.

        Args and errors are those of `predict`.

        Returns:
            "fused" and each level -> [size], float32.
        """
        tally = self._one(_recording(audio, sample_rate, covariates), embeddings=True)
        return {name: mean.astype(np.float32) for name, mean in tally.embeddings().items()}

    def _one(self, recording: Recording | Samples, *, embeddings: bool = False) -> Tally:
        (tally,) = self._engine.tallies([recording], embeddings=embeddings)
        if tally.error is not None:
            raise tally.error
        return tally


def _recording(audio: Any, sample_rate: int | None, covariates: Mapping[str, str] | None) -> Recording | Samples:
    if isinstance(audio, str | os.PathLike):
        if sample_rate is not None:
            raise PredictionError(f"sample_rate is for arrays; the file {audio} knows its own: leave it out")
        return Recording(Path(audio), covariates=covariates or {})
    if sample_rate is None:
        raise PredictionError("An array does not know its sample rate: give sample_rate in Hz, as sample_rate=16000")
    return Samples(audio, sample_rate, covariates or {})


def _as_recording(recording: Recording | Samples | str | Path) -> Recording | Samples:
    return recording if isinstance(recording, Recording | Samples) else Recording(recording)
