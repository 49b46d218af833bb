"""An extractor under examination and the waveforms it is given."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from toolkit.contracts import Extractor, Seq
from toolkit.testing.findings import call_with


@dataclass(frozen=True)
class ExtractorCase:
    """An extractor to examine and the waveforms to do it with.

    Args:
        make: called with the context arguments that it names.
        sample_rate: context argument, in Hz.
        segment_samples: context argument.
        samples: lengths of the waveforms, the longest first.
        tolerance: relative error that counts as equal.
    """

    make: Callable[..., Extractor]
    sample_rate: int
    segment_samples: int
    samples: tuple[int, ...]
    tolerance: float

    def build(self, *, fitted: bool = True) -> Extractor:
        """A new extractor in eval() mode, fitted where it `fits`."""
        context = {"sample_rate": self.sample_rate, "segment_samples": self.segment_samples}
        extractor = call_with(self.make, context)
        if fitted and extractor.fits:
            extractor.fit([extractor.features(self.wave(extractor, shift)) for shift in range(2)])
        return extractor.eval()

    def lengths(self, extractor: Extractor) -> list[int]:
        """The lengths to try: the core pads to `fixed_samples` where an extractor has them."""
        if extractor.fixed_samples is None:
            return list(self.samples)
        return [extractor.fixed_samples] * 3

    def wave(self, extractor: Extractor, shift: int = 0) -> Seq:
        """Tones in noise, one row for each of `lengths`, zeros beyond them."""
        lengths = self.lengths(extractor)
        generator = torch.Generator().manual_seed(1 + shift)
        time = torch.arange(max(lengths)) / self.sample_rate  # in seconds
        pitch = 100 + 150 * torch.rand(len(lengths), 1, generator=generator)  # in Hz
        tone = torch.sin(2 * torch.pi * pitch * time)
        noise = torch.randn(len(lengths), max(lengths), generator=generator)
        return Seq(0.2 * tone + 0.05 * noise, torch.tensor(lengths)).zeroed()
