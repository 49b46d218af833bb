"""An extractor under examination and the waveforms it is given."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from toolkit.contracts import Extractor, Seq
from toolkit.testing.modules import ModuleCase


@dataclass(frozen=True)
class ExtractorCase(ModuleCase):
    """An extractor to examine; about twenty are built, and one or two for each argument: small arguments keep it fast.

    Args:
        sample_rate: in Hz.
        segment_samples: what a whole segment has.
        samples: lengths to try, in samples; by default a whole segment, parts of it and a single sample.
    """

    sample_rate: int = 16_000
    segment_samples: int = 16_000
    samples: Sequence[int] | None = None
    kind: ClassVar[str] = "extractor"

    def context(self) -> dict[str, int]:
        """See Case."""
        return {"sample_rate": self.sample_rate, "segment_samples": self.segment_samples}

    def build(self) -> Extractor:
        """A new extractor in eval() mode, fitted if it `fits`."""
        extractor = self.empty()
        if extractor.fits:
            extractor.fit([extractor.features(self.wave(extractor, shift)) for shift in range(2)])
        return extractor

    def empty(self) -> Extractor:
        """The same before it is fitted."""
        return super().build()

    def inputs(self, module: Extractor) -> tuple[Seq]:
        """A waveform."""
        return (self.wave(module),)

    def outputs(self, module: Extractor, wave: Seq) -> dict[str, Tensor]:
        """Features and frames."""
        return {"features": module.features(wave).zeroed().values, "output": module(wave).zeroed().values}

    def lengths(self, extractor: Extractor) -> list[int]:
        """The lengths to try; `fixed_samples` only, if the extractor has them."""
        if extractor.fixed_samples is not None:
            return [extractor.fixed_samples] * 3
        whole = self.segment_samples
        return sorted(self.samples or (whole, whole * 5 // 8 + 7, whole // 4, 399, 1), reverse=True)

    def wave(self, extractor: Extractor, shift: int = 0) -> Seq:
        """Tones in noise, one row for each of `lengths`, zeros beyond them."""
        lengths = self.lengths(extractor)
        generator = torch.Generator().manual_seed(1 + shift)
        time = torch.arange(max(lengths)) / self.sample_rate  # in seconds
        pitch = 100 + 150 * torch.rand(len(lengths), 1, generator=generator)  # in Hz
        tone = torch.sin(2 * torch.pi * pitch * time)
        noise = torch.randn(len(lengths), max(lengths), generator=generator)
        return Seq(0.2 * tone + 0.05 * noise, torch.tensor(lengths)).zeroed()
