"""What is labelled: a file, a stretch of one, or samples in memory. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from toolkit.errors import AudioError, PredictionError, ShapeError

DIVIDE = "divide them by their full scale (32768 for 16 bits)"
LOUDEST = 100.0  # 40 dB above full scale: mixes exceed 1, sometimes by far; samples of 16 bits reach 32768


@dataclass(frozen=True)
class Recording:
    """An audio file, or a stretch of it.

    Args:
        path: the file.
        start_s: where the stretch begins, in seconds; None is the start of the file.
        end_s: where it ends, in seconds; None is the end of the file.
        covariates: name -> value, of those that the system needs.
        name: what it is called in results; by default the path as it is given.
    """

    path: Path
    start_s: float | None = None
    end_s: float | None = None
    covariates: Mapping[str, str] = field(default_factory=dict)
    name: str = ""

    def __post_init__(self):
        object.__setattr__(self, "name", self.name or str(self.path))
        object.__setattr__(self, "path", Path(self.path))

    @property
    def offset_s(self) -> float:
        """Where it begins in the file, in seconds."""
        return self.start_s or 0.0


@dataclass(frozen=True, eq=False)
class Samples:
    """Audio in memory.

    Args:
        values: a numpy array or torch tensor of floating-point numbers, full scale at 1: [samples] or
            [channels, samples]; channels are averaged.
        sample_rate: in Hz.
        covariates: as for a Recording.
        name: what it is called in errors.

    Raises:
        ShapeError: if the values have another shape or are integers.
        AudioError: if there are none, or one is NaN, infinite or beyond `LOUDEST`.
        PredictionError: if the sample rate is not a whole number above 0.
    """

    values: Any
    sample_rate: int
    covariates: Mapping[str, str] = field(default_factory=dict)
    name: str = "the array"
    offset_s: ClassVar[float] = 0.0

    def __post_init__(self):
        rate = self.sample_rate
        if not isinstance(rate, Real) or rate != rate // 1 or rate < 1:
            raise PredictionError(f"sample_rate is {rate!r}; a whole number of Hz is needed, for example 16000")
        object.__setattr__(self, "sample_rate", int(self.sample_rate))
        object.__setattr__(self, "values", _mono(self.values))


def _mono(values: Any) -> np.ndarray:
    """[samples], float32, of [samples] or [channels, samples]."""
    if hasattr(values, "detach"):  # a torch tensor, perhaps on a GPU
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values  # numpy has no bfloat16
    values = np.asarray(values)
    shape = list(values.shape)
    if values.ndim not in (1, 2):
        raise ShapeError(f"samples are [samples] or [channels, samples], not {shape}")
    if not values.size:
        raise AudioError(f"the array holds no samples: {shape}")
    if values.ndim == 2 and shape[0] > shape[1]:
        raise ShapeError(f"samples are [channels, samples], and {shape} has more channels: transpose it")
    if not np.issubdtype(values.dtype, np.floating):
        raise ShapeError(f"samples are floating-point numbers with full scale at 1, not {values.dtype}: {DIVIDE}")
    with np.errstate(over="ignore"):  # what becomes infinite is refused
        values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise AudioError("the array holds NaN or infinite samples")
    if (peak := np.abs(values).max()) > LOUDEST:
        raise AudioError(f"the array's samples reach {peak:.6g}, and full scale is 1: {DIVIDE}")
    return values.mean(axis=0) if values.ndim == 2 else values
