"""Augmentations `speed` and `pitch`: faster or slower; higher or lower at the same speed."""

import torch
from soxr import resample
from torch import Tensor
from torch.nn import functional
from torchaudio.functional import phase_vocoder

from toolkit.contracts import Augmentation
from toolkit_plugins.augmentations.draws import Range, as_loud_as, check_range, uniform
from toolkit_plugins.augmentations.spectra import HOP, from_spectrum, spectrum


def faster(wave: Tensor, factor: float) -> Tensor:
    """A waveform played `factor` times as fast, its pitch with it: [samples] -> [about samples / factor]."""
    played = torch.from_numpy(resample(wave.numpy(), factor, 1.0))
    return played if len(played) else wave[:1]


def stretched(wave: Tensor, factor: float, samples: int) -> Tensor:
    """A waveform `factor` times as fast at the same pitch, cut or padded to `samples`: [samples]."""
    frames = spectrum(wave)
    advance = torch.linspace(0, torch.pi * HOP, frames.shape[0])[:, None]
    return from_spectrum(phase_vocoder(frames, factor, advance), samples)


def higher(wave: Tensor, semitones: float) -> Tensor:
    """A waveform raised by `semitones`, formants included, at the same speed and power: [samples] -> [samples]."""
    factor = 2 ** (semitones / 12)
    played = faster(wave, factor)
    moved = stretched(functional.pad(played, (0, max(0, HOP - len(played)))), 1 / factor, len(wave))
    return as_loud_as(wave, moved)


class Speed(Augmentation):
    """The recording faster or slower, with pitch and formants; a result longer than a segment is cut.

    Args:
        factor: lowest and highest speed; 1 changes nothing.

    Source: Ko et al., "Audio augmentation for speech recognition", Interspeech 2015.
    """

    def __init__(self, *, factor: Range = (0.9, 1.1)):
        check_range(least=0.25, most=4, factor=factor)
        self.factor = factor

    def change(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """[samples] -> another number of samples."""
        return faster(values, uniform(self.factor, generator))


class Pitch(Augmentation):
    """The recording higher or lower by a number of semitones, formants included, at the same speed.

    Args:
        semitones: lowest and highest number of semitones.

    Source: Flanagan and Golden, "Phase vocoder", Bell System Technical Journal 45, 1966.
    """

    def __init__(self, *, semitones: Range = (-2.0, 2.0)):
        check_range(least=-24, most=24, semitones=semitones)
        self.semitones = semitones

    def change(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """[samples] -> [samples]."""
        return higher(values, uniform(self.semitones, generator))
