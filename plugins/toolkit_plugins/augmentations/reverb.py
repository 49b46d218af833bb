"""Augmentation `reverb`: a room, from a recorded impulse response or a simulated one."""

import torch
from scipy.signal import fftconvolve
from torch import Tensor

from toolkit.contracts import Augmentation
from toolkit_plugins.augmentations.draws import Range, as_loud_as, check_range, uniform
from toolkit_plugins.augmentations.recordings import Recordings


def reverberated(wave: Tensor, response: Tensor, *, direct: int | None = None) -> Tensor:
    """A waveform in a room, with the same length, power and position of the direct sound.

    Args: wave [samples]; response [taps] of the room; direct: the tap of the direct sound, by default the largest. A
        silent response changes nothing.
    Returns: [samples].
    """
    if not response.any():
        return wave
    direct = int(response.abs().argmax()) if direct is None else direct
    wet = torch.from_numpy(fftconvolve(wave.numpy(), response.numpy()))[direct : direct + len(wave)]
    return as_loud_as(wave, wet)


def simulated_response(seconds: float, direct_db: float, *, sample_rate: int, generator: torch.Generator) -> Tensor:
    """A direct sound, then noise that decays by 60 dB in `seconds`: [taps].

    Args: seconds: the reverberation time (RT60); direct_db: power of the direct sound over that of the rest, in dB.
    Source: Moorer, "About this reverberation business", Computer Music Journal 3, 1979.
    """
    time = torch.arange(max(2, round(seconds * sample_rate))) / sample_rate
    tail = torch.randn(len(time), generator=generator) * 10 ** (-3 * time / seconds)
    tail[0] = 0
    response = tail / tail.square().sum().sqrt() * 10 ** (-direct_db / 20)
    response[0] = 1.0
    return response


class Reverb(Augmentation):
    """The recording in a room; it keeps its length, its power and the position of its direct sound.

    Args:
        seconds: shortest and longest reverberation time (RT60) of a simulated room.
        direct_db: lowest and highest direct-to-reverberant ratio of a simulated room, in dB, from -100 to 100.
        folder: folder of recorded impulse responses, searched with its subfolders, instead of simulated ones; at most
            two seconds of each are used.

    Raises: ValueError if the folder holds no recording, or one that cannot be read.

    Source: Moorer, "About this reverberation business", Computer Music Journal 3, 1979 (decaying noise).
    """

    def __init__(
        self,
        *,
        sample_rate: int = 16_000,
        seconds: Range = (0.2, 0.8),
        direct_db: Range = (0.0, 12.0),
        folder: str | None = None,
    ):
        check_range(least=0.01, most=10, seconds=seconds)
        check_range(least=-100, most=100, direct_db=direct_db)
        self.sample_rate, self.seconds, self.direct_db = sample_rate, seconds, direct_db
        self.recordings = None if folder is None else Recordings(folder, sample_rate)

    def change(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """[samples] -> [samples]."""
        if self.recordings is not None:
            return reverberated(values, self.recordings.beginning(2 * self.sample_rate, generator))
        seconds, direct_db = uniform(self.seconds, generator), uniform(self.direct_db, generator)
        response = simulated_response(seconds, direct_db, sample_rate=self.sample_rate, generator=generator)
        return reverberated(values, response, direct=0)
