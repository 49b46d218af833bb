"""What is wrong with audio, be it in a file or in memory."""

import numpy as np

from toolkit.errors import AudioError

DIVIDE = "divide them by their full scale (32768 for 16 bits)"
LOUDEST = 100.0  # 40 dB above full scale: mixes exceed 1, sometimes by far; samples of 16 bits reach 32768


class AudioFileError(AudioError):
    """An AudioError with a kind, for `toolkit check-data`.

    Args:
        message: one line that names the file.
        kind: missing, unreadable, truncated, empty, out-of-range, not-finite or scale.
    """

    def __init__(self, message: str, kind: str = "unreadable"):  # one argument is what unpickling gives
        super().__init__(message)
        self.kind = kind


def check_samples(samples: np.ndarray, name: object) -> None:
    """Refuse NaN, infinite values, and what is beyond `LOUDEST`.

    Raises:
        AudioFileError: with the name of the file or array.
    """
    peak = max(samples.max(), -samples.min())
    if not np.isfinite(peak):
        raise AudioFileError(f"{name} holds NaN or infinite samples", "not-finite")
    if peak > LOUDEST:
        raise AudioFileError(f"{name}: samples reach {peak:.6g}, and full scale is 1: {DIVIDE}", "scale")
