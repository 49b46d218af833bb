"""Augmentation `codec`: what lossy compression leaves of a recording."""

import io

import soundfile
import torch
from torch import Tensor
from torch.nn import functional

from toolkit.contracts import Augmentation
from toolkit_plugins.augmentations.draws import Range, check_range, uniform

RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)  # Hz that MP3 supports
DELAY = 1_105  # samples, of LAME's encoder and a decoder together
LOWEST, HIGHEST = 8.0, 64.0  # kbit/s


def compressed(wave: Tensor, kbit_per_s: float, *, sample_rate: int) -> Tensor:
    """A waveform after MP3 compression at the nearest constant bit rate that MP3 supports: [samples]."""
    # libsndfile takes a position in the bit rates of MPEG-1 (32 to 320), MPEG-2 (8 to 160) or MPEG-2.5 (8 to 64).
    least, most = (32, 320) if sample_rate >= 32_000 else (8, 160) if sample_rate >= 16_000 else (8, 64)
    level = min(0.9999, max(0.0, (most - kbit_per_s) / (most - least)))  # 1 is refused
    file = io.BytesIO()
    options = {"format": "MP3", "bitrate_mode": "CONSTANT", "compression_level": level}
    soundfile.write(file, wave.numpy(), sample_rate, **options)
    file.seek(0)
    found = torch.from_numpy(soundfile.read(file, dtype="float32")[0])
    if len(found) > len(wave):  # frames too small for the header that states the delay
        found = found[DELAY:]
    return functional.pad(found, (0, max(0, len(wave) - len(found))))[: len(wave)]


class Codec(Augmentation):
    """The recording compressed as an MP3 file, at a bit rate drawn uniformly.

    Args:
        kbit_per_s: lowest and highest bit rate, 8 to 64 kbit/s; at 32,000 Hz or more, MP3 has none below 32.

    Raises: ValueError if MP3 does not support the sample rate or the bit rate.

    Source: ISO/IEC 13818-3, Generic coding of moving pictures and associated audio information, 1998.
    """

    def __init__(self, *, sample_rate: int = 16_000, kbit_per_s: Range = (16.0, 64.0)):
        if sample_rate not in RATES:
            raise ValueError(f"MP3 does not support {sample_rate} Hz; it supports {', '.join(map(str, RATES))}")
        check_range(least=LOWEST, most=HIGHEST, kbit_per_s=kbit_per_s)
        self.sample_rate, self.kbit_per_s = sample_rate, kbit_per_s

    def change(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """[samples] -> [samples]."""
        return compressed(values, uniform(self.kbit_per_s, generator), sample_rate=self.sample_rate)
