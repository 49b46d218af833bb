"""Audio files: what their headers say, decoding them, and how their samples are cut into segments; no torch."""

import math
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile

from toolkit.errors import AudioError

TOLERANCE_S = 0.01  # manifests round times: an end so little beyond the file is the end of the file
_STREAMED = 0x7FFF0000  # larger data sizes are placeholders of programs that wrote to a pipe


class AudioFileError(AudioError):
    """An AudioError with a kind, for `toolkit check-data`.

    Args:
        message: one line that names the file.
        kind: missing, unreadable, truncated, empty, out-of-range or not-finite.
    """

    def __init__(self, message: str, kind: str = "unreadable"):  # one argument is what unpickling gives
        super().__init__(message)
        self.kind = kind


def audio_header(
    path: str | Path, *, sample_rate: int, start_s: float | None = None, end_s: float | None = None
) -> tuple[int, int]:
    """Return how many samples `waves.read_audio` returns for the same arguments, and the file's own rate in Hz.

    Raises:
        AudioError: as `waves.read_audio`, except for errors that only decoding finds.
    """
    with _open(path) as file:
        start, stop = _stretch(path, file.frames, file.samplerate, start_s, end_s)
        return resampled_length(stop - start, file.samplerate, sample_rate), file.samplerate


def decode(path: str | Path, *, start_s: float | None = None, end_s: float | None = None) -> tuple[np.ndarray, int]:
    """Read a file, or a stretch of it, at its own rate; arguments and errors as for `waves.read_audio`.

    Returns:
        [frames, channels], float32, full scale at 1, and the file's rate in Hz.
    """
    with opened(path, start_s=start_s, end_s=end_s) as stretch:
        return stretch.read(stretch.frames), stretch.rate


class AudioStretch:
    """A file, or a stretch of it, that is read in order, block by block.

    Args:
        path: the file's, for messages.
        file: open.
        start: first frame of the stretch.
        stop: one past its last frame.

    Attributes:
        frames: of the stretch.
        rate: of the file, in Hz.
    """

    def __init__(self, path: str | Path, file: soundfile.SoundFile, start: int, stop: int):
        self.path, self.frames, self.rate = path, stop - start, file.samplerate
        self._file, self._next, self._stop = file, start, stop
        self._seeks = True

    def between(self, start: int, stop: int) -> "AudioStretch":
        """The part from one of its frames to another, or to its end; to be made before anything is read."""
        return AudioStretch(self.path, self._file, self._next + start, min(self._next + stop, self._stop))

    def read(self, frames: int) -> np.ndarray:
        """The next frames, fewer at the end: [frames, channels], float32, full scale at 1.

        Raises:
            AudioError: if they cannot be decoded, are missing, or hold NaN or infinite samples.
        """
        wanted = min(frames, self._stop - self._next)
        try:
            if self._seeks:
                self._file.seek(self._next)
                self._seeks = False
            samples = self._file.read(wanted, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise AudioFileError(f"{self.path} cannot be decoded to its end: {_cause(error)}", "truncated") from None
        self._next += len(samples)
        if len(samples) < wanted:
            raise AudioFileError(
                f"{self.path} is truncated: its header promises {self._stop} frames,"
                f" {self._next} could be decoded; get the file again",
                "truncated",
            )
        if not np.isfinite(samples).all():
            raise AudioFileError(f"{self.path} holds NaN or infinite samples", "not-finite")
        return samples


@contextmanager
def opened(path: str | Path, *, start_s: float | None = None, end_s: float | None = None) -> Iterator[AudioStretch]:
    """Open a file, or a stretch of it, to be read in order; arguments and errors as for `waves.read_audio`."""
    with _open(path) as file:
        yield AudioStretch(path, file, *_stretch(path, file.frames, file.samplerate, start_s, end_s))


def resampled_length(samples: int, rate: int, new_rate: int) -> int:
    """Return how many samples torchaudio's resampling makes of `samples`.

    >>> resampled_length(48001, 48000, 16000)
    16001
    """
    common = math.gcd(rate, new_rate)
    return -(-samples * (new_rate // common) // (rate // common))


def cut(samples: int, *, segment_samples: int) -> list[tuple[int, int]]:
    """Cut into segments without overlap; the last may be shorter.

    Returns:
        (start, stop) of each, in samples.

    Raises:
        ValueError: if either number is below 1.

    >>> cut(100, segment_samples=48)
    [(0, 48), (48, 96), (96, 100)]
    """
    if samples < 1 or segment_samples < 1:
        raise ValueError(f"{samples} samples cannot be cut into segments of {segment_samples}")
    return [(start, min(start + segment_samples, samples)) for start in range(0, samples, segment_samples)]


def _open(path: str | Path) -> soundfile.SoundFile:
    path = Path(path)
    try:
        missing = _shortfall(path)
        file = soundfile.SoundFile(os.fsencode(path))  # names are bytes, which need not be text
    except FileNotFoundError:
        raise AudioFileError(f"{path} does not exist", "missing") from None
    except OSError as error:
        raise AudioFileError(f"{path} cannot be read: {error.strerror or error}", "unreadable") from None
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: soundfile needs a rate for .raw
        kind = "empty" if path.stat().st_size == 0 else "unreadable"
        what = "is an empty file" if kind == "empty" else f"is not audio that can be read: {_cause(error)}"
        raise AudioFileError(f"{path} {what}", kind) from None
    if missing or not file.frames:
        file.close()
    if missing:
        raise AudioFileError(
            f"{path} is truncated: {missing} of the bytes that its header promises are missing; get the file again",
            "truncated",
        )
    if not file.frames:
        raise AudioFileError(f"{path} holds no samples", "empty")
    return file


def _shortfall(path: Path) -> int:
    """Return the bytes that a WAV or AIFF data chunk promises beyond the end of the file (libsndfile ignores it)."""
    with path.open("rb") as file:
        head = file.read(12)
        form = head[:4], head[8:]
        if form in ((b"RIFF", b"WAVE"), (b"RIFX", b"WAVE")):
            number, data = ("<I" if head[:4] == b"RIFF" else ">I"), b"data"
        elif form in ((b"FORM", b"AIFF"), (b"FORM", b"AIFC")):
            number, data = ">I", b"SSND"
        else:
            return 0
        while len(chunk := file.read(8)) == 8:
            length = struct.unpack(number, chunk[4:])[0]
            if chunk[:4] == data:
                return 0 if length >= _STREAMED else max(0, file.tell() + length - path.stat().st_size)
            file.seek(length + length % 2, 1)
    return 0


def _stretch(path: str | Path, frames: int, rate: int, start_s: float | None, end_s: float | None) -> tuple[int, int]:
    start = 0 if start_s is None else round(start_s * rate)
    stop = frames if end_s is None else round(end_s * rate)
    if 0 < stop - frames <= TOLERANCE_S * rate:
        stop = frames
    if not 0 <= start < stop <= frames:
        asked = f"{start_s or 0:g} s to {'its end' if end_s is None else f'{end_s:g} s'}"
        raise AudioFileError(f"{path} lasts {frames / rate:.3f} s: {asked} is not in it", "out-of-range")
    return start, stop


def _cause(error: Exception) -> str:
    """Libsndfile's own message; the exception's text repeats the path."""
    return str(getattr(error, "error_string", error)).strip().rstrip(".")
