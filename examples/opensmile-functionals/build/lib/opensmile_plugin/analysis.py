"""The call to openSMILE: a waveform in, functionals or low-level descriptors out."""

import numpy as np
import opensmile

HOP_S = 0.01
WINDOW_S = {"eGeMAPSv02": 0.06, "GeMAPSv01b": 0.06, "ComParE_2016": 0.06, "emobase": 0.04}  # longest, in seconds
LEVELS = {
    "functionals": opensmile.FeatureLevel.Functionals,
    "descriptors": opensmile.FeatureLevel.LowLevelDescriptors,
}


class Analysis:
    """OpenSMILE with one feature set at one level.

    Args:
        feature_set: a key of WINDOW_S.
        level: a key of LEVELS; functionals are one frame for all of a waveform.
        sample_rate: of the waveforms, in Hz, a multiple of 100.

    Attributes:
        channels: values of a frame.
        minimum_samples: with less than its longest window openSMILE gives nothing.

    Raises:
        ValueError: for a value that is not known or allowed.
    """

    def __init__(self, *, feature_set: str, level: str, sample_rate: int):
        # An unknown name is more than an error: a level that its configuration lacks makes openSMILE crash.
        if feature_set not in WINDOW_S:
            raise ValueError(f"feature_set is {feature_set!r}; known: {', '.join(WINDOW_S)}")
        if level not in LEVELS:
            raise ValueError(f"level is {level!r}; known: {', '.join(LEVELS)}")
        if sample_rate % 100:
            raise ValueError(
                f"audio.sample_rate is {sample_rate}; openSMILE's hop of 10 ms wants a whole number of samples, "
                "so a multiple of 100, for example 16000"
            )
        self.level, self.sample_rate = level, sample_rate
        self.hop = round(HOP_S * sample_rate)
        self.minimum_samples = round(WINDOW_S[feature_set] * sample_rate)
        self.smile = opensmile.Smile(feature_set=opensmile.FeatureSet[feature_set], feature_level=LEVELS[level])
        self.channels: int = self.smile.num_features

    def frame_count(self, samples: int) -> int:
        """Frames that openSMILE gives for so many samples, lengthened to `minimum_samples` if there are fewer."""
        if self.level == "functionals":
            return 1
        return (max(samples, self.minimum_samples) - self.minimum_samples) // self.hop + 2

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        """One waveform.

        Args: wave [samples], full scale at 1. Zeros are appended where it is shorter than `minimum_samples`.
        Returns: [frame_count(samples), channels], float32, finite.
        """
        wave = np.pad(wave, (0, max(0, self.minimum_samples - len(wave))))
        # openSMILE reads 16-bit integers: what lies beyond full scale would come out with the other sign.
        wave = np.clip(wave, -1, 32767 / 32768).astype(np.float32)
        return self.smile(wave[None, :], self.sample_rate)[0].T.astype(np.float32)
