"""A contestant on a GPU: the time of its steps in rounds, their memory, and their share of the GPU's peak."""

import statistics
from dataclasses import dataclass, field
from typing import Protocol

import torch
from measuring import seconds
from torch import Tensor


class Steps(Protocol):
    """A training that is measured."""

    def step(self) -> Tensor:
        """Take one step; returns its loss, on the device."""


@dataclass
class Contestant:
    """One row of the table.

    Args:
        training: takes the steps.
        rows: segments in a step.
        tf32: whether cuDNN may use TF32, which is torch's default.
        own: bytes on the device that it holds between its steps.
    """

    training: Steps
    rows: int
    tf32: bool
    own: int = 0
    times: list[float] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)

    def run(self, steps: int) -> list[Tensor]:
        """Take some steps; returns their losses, on the device."""
        torch.backends.cudnn.allow_tf32 = self.tf32
        losses = [self.training.step() for _ in range(steps)]
        synchronize()
        return losses

    def measure(self, steps: int) -> None:
        """Measure one round."""
        before = reset_peak()
        self.times.append(seconds(lambda: self.run(steps)) / steps)
        self.peaks.append(peak() - before + self.own)

    @property
    def rate(self) -> float:
        """Segments per second, the median over the rounds."""
        return statistics.median(self.rows / time for time in self.times)

    def row(self, what: str, operations: int | None, most: float | None) -> dict[str, str]:
        """A row of the table.

        Args: operations: per segment, None if they could not be counted; most: the GPU's peak in TFLOP/s, if known.
        """
        used = None if operations is None else self.rate * operations / 1e12
        return {
            "what": what,
            "segments/s": f"{self.rate:.4g}",
            "range": f"{self.rows / max(self.times):.4g} to {self.rows / min(self.times):.4g}",
            "GFLOP per segment": "?" if operations is None else f"{operations / 1e9:.1f}",
            "% of the GPU's peak": "?" if used is None or most is None else f"{100 * used / most:.1f}",
            "peak memory, GB": f"{max(self.peaks) / 1e9:.2f}",
        }


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def reset_peak() -> int:
    """Reset the peak of the GPU's memory; returns the memory in use, in bytes."""
    if not torch.cuda.is_available():
        return 0
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def peak() -> int:
    """The peak of the GPU's memory since the reset, in bytes."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
