"""A trained system in use: audio in, predictions out."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.errors import PredictionError, ToolkitError
from toolkit.hardware import available_device
from toolkit.inference.predict.engine import BATCH_SIZE, Engine, RecordingResult
from toolkit.inference.predict.predictions import Prediction
from toolkit.inference.predict.recordings import Recording, Samples
from toolkit.inference.usage import Usage
from toolkit.model.system import System


class Model:
    """A trained system with everything that is needed to use it.

    Several threads may use one model: they read audio side by side and compute one after the other.

    Args:
        system: with its weights; it is put into evaluation mode and onto the device.
        usage: how audio goes in and what comes out.
        device: cpu, cuda, cuda:1, ...; by default a GPU if there is one.

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
        self, audio: Any, *, sample_rate: int | None = None, covariates: Mapping[str, str] | None = None
    ) -> Prediction:
        """Label one recording.

        Args:
            audio: the path of a file in any format that libsndfile reads; or a numpy array or torch tensor of
                floating-point numbers with full scale at 1, [samples] or [channels, samples].
            sample_rate: of an array, in Hz; not for files, which state their own.
            covariates: name -> value, of those that the system needs with every recording.

        Raises:
            AudioError: if the audio cannot be read, is empty or holds NaN, or an array is far above full scale.
            ShapeError: if an array has another shape.
            PredictionError: if the sample rate of an array or a covariate is missing or not known.
        """
        return self._result(audio, sample_rate, covariates).prediction()

    def predict_many(
        self, recordings: Iterable[Recording | Samples | str | Path], *, batch_size: int = BATCH_SIZE
    ) -> Iterator[Prediction]:
        """Label recordings one after the other, segments of several at a time.

        Args:
            recordings: each is read when its turn comes; they may be endless.
            batch_size: segments in a batch; no more audio than that is held.

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
        """The same as `predict_many`, but it goes on after recordings that cannot be labelled.

        Yields:
            Each recording with its prediction, or with the error.
        """
        inputs = (r if isinstance(r, Recording | Samples) else Recording(r) for r in recordings)
        for result in self._engine.results(inputs, batch_size=batch_size):
            yield result.recording, result.error or result.prediction()

    def embed(
        self, audio: Any, *, sample_rate: int | None = None, covariates: Mapping[str, str] | None = None
    ) -> dict[str, np.ndarray]:
        """The embeddings of a recording, which the heads read: means over segments, weighted as for predictions.

        Args and errors are those of `predict`.

        Returns:
            "fused" and each level -> [size], float32.
        """
        return self._result(audio, sample_rate, covariates, embeddings=True).embeddings()

    def _result(
        self,
        audio: Any,
        sample_rate: int | None,
        covariates: Mapping[str, str] | None,
        *,
        embeddings: bool = False,
    ) -> RecordingResult:
        if isinstance(audio, str | os.PathLike):
            if sample_rate is not None:
                raise PredictionError(f"sample_rate is for arrays, and the file {audio} states its own: leave it out")
            recording = Recording(Path(audio), covariates=covariates or {})
        elif sample_rate is None:
            raise PredictionError("The sample rate of an array is needed, in Hz: for example sample_rate=16000")
        else:
            recording = Samples(audio, sample_rate, covariates or {})
        (result,) = self._engine.results([recording], embeddings=embeddings)
        if result.error is not None:
            raise result.error
        return result
