"""Random draws of augmentations, and checks of their arguments."""

import torch
from torch import Tensor

Range = tuple[float, float]  # least and most


def uniform(between: Range, generator: torch.Generator) -> float:
    """A number drawn uniformly from a range."""
    low, high = between
    return low + (high - low) * float(torch.rand((), generator=generator))


def whole(most: int, generator: torch.Generator) -> int:
    """An integer drawn uniformly from 0 to `most`, both included."""
    return int(torch.randint(most + 1, (), generator=generator))


def check_range(*, least: float, most: float, **ranges: Range) -> None:
    """Raise ValueError for the first range that is reversed or leaves its limits.

    >>> check_range(least=-100, most=100, snr_db=(20.0, 5.0))
    Traceback (most recent call last):
    ValueError: snr_db is [20, 5]; the first number must not be above the second
    """
    for name, (low, high) in ranges.items():
        found = f"{name} is [{low:g}, {high:g}]"
        if not low <= high:
            raise ValueError(f"{found}; the first number must not be above the second")
        if low < least:
            raise ValueError(f"{found}; neither may be below {least:g}")
        if high > most:
            raise ValueError(f"{found}; neither may be above {most:g}")


def check_least(least: float, **values: float) -> None:
    """Raise ValueError for the first value below `least`."""
    for name, value in values.items():
        if not value >= least:
            raise ValueError(f"{name} is {value:g}; it has to be at least {least:g}")


def power(wave: Tensor) -> float:
    """The mean square of samples."""
    return float(wave.double().square().mean())


def as_loud_as(reference: Tensor, wave: Tensor) -> Tensor:
    """A waveform scaled to the power of another; silence stays."""
    return wave * (power(reference) / power(wave)) ** 0.5 if power(wave) else wave
