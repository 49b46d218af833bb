"""Find audio files, check their lengths and decode them block by block; no torch."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile

from toolkit.audio import ffmpeg
from toolkit.audio.ffmpeg import truncated
from toolkit.errors import AudioError
from toolkit.files import require_file

_SUFFIXES = (
    "3gp aac ac3 aif aifc aiff amr ape au caf flac m4a mka mkv mov mp2 mp3 mp4 mpeg nist oga ogg opus rf64 snd sph tta "
    "w64 wav webm wma wv"
)
AUDIO_SUFFIXES = frozenset(f".{suffix}" for suffix in _SUFFIXES.split())
DIVIDE = "divide them by their full scale (32768 for 16 bits)"
LOUDEST = 100.0  # 40 dB above full scale: mixes exceed 1, sometimes by far; unscaled 16-bit samples reach 32768
HIGHEST = 10_000_000  # Hz; a resampler for more takes long to build
TOLERANCE_S = 0.01  # manifests round times: an end this little beyond the file means the file's end
BLOCK_S = 10.0  # seconds that are decoded at a time; the result does not depend on it
BLOCK_VALUES = 1 << 20  # values in a block at most, whatever rate and channels a header gives
_STREAMED = 0x7FFF0000  # larger data sizes are placeholders from programs that wrote to a pipe
_UNKNOWN = 2**63 - 1  # libsndfile's number of frames if the header gives none
_FORMATS = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "FLAC", "OGG")  # ffmpeg reads others
_EVEN = ("PCM", "FLOAT", "DOUBLE", "ULAW", "ALAW")  # encodings in which all frames have the same size
# libsndfile's log of a truncated file: the size of its data, or of all of it (riff), which may be off by a few bytes.
_CUT = re.compile(r"^ *(data|SSND|Data Size|riff|Riff size) *: (\d+) \(should be (\d+)\)", re.M)
_CHUNK = re.compile(rb"\0{0,7}(?!caff|FORM)[\w ]{4}")  # how a chunk behind the data begins, but not a file
_BEGINS = {"OGG": b"OggS\0\x02", "FLAC": b"fLaC\0\0\0\x22"}  # how a stream begins


@dataclass(frozen=True)
class AudioStretch:
    """A file, or `frames` of it from frame `start` on; `rate` is its sample rate in Hz."""

    path: Path
    start: int
    frames: int
    rate: int
    decode: Callable[[Path, int, int], Iterator[np.ndarray]]  # (path, start, frames) -> blocks

    def samples(self, sample_rate: int) -> int:
        """Number of samples that `waves` yields for it at a sample rate in Hz."""
        return resampled_length(self.frames, self.rate, sample_rate)

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        """Decode frames `start` to `stop` (None: the end) in blocks, each [frames, channels], float32, full scale at 1.

        Raises: AudioError if they cannot be decoded, are missing, or hold NaN, infinite or unscaled samples.
        """
        missing = min(stop or self.frames, self.frames) - start
        with closing(self.decode(self.path, self.start + start, missing)) as decoded:
            for block in decoded:
                block = block[:missing]
                check_samples(block, self.path)
                missing -= len(block)
                yield block
                if not missing:
                    return
        raise truncated(self.path, f"{missing} of the frames that its header promises could not be decoded")


def check_samples(samples: np.ndarray, name: object) -> None:
    """Raise AudioError, which names the file or array, if a sample is NaN, infinite or beyond `LOUDEST`."""
    peak = max(samples.max(), -samples.min())
    if not np.isfinite(peak):
        raise AudioError(f"{name} holds NaN or infinite samples", "not-finite")
    if peak > LOUDEST:
        raise AudioError(f"{name}: samples reach {peak:.6g}, and full scale is 1: {DIVIDE}", "scale")


def stretch(path: str | Path, *, start_s: float | None = None, end_s: float | None = None) -> AudioStretch:
    """Examine a file, or a stretch of it, before it is decoded; arguments and errors as for `waves.read_audio`."""
    path = Path(path)
    try:
        status = require_file(path).stat()
        frames, rate, decode = _examined(path, status.st_size, status.st_mtime_ns)
    except FileNotFoundError:
        hint = ": a path here has /, not \\" if "\\" in path.name else ""
        raise AudioError(f"{path} does not exist{hint}", "missing") from None
    except (OSError, ValueError) as error:  # ValueError: no file can have such a name
        raise AudioError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if rate > HIGHEST:
        raise AudioError(f"{path} has {rate:,} samples a second by its header; at most {HIGHEST:,} can be read")
    start, stop = 0 if start_s is None else start_s * rate, frames if end_s is None else end_s * rate
    if 0 < stop - frames <= TOLERANCE_S * rate:
        stop = frames
    if not 0 <= start < stop <= frames or round(start) == round(stop):
        asked = f"{start_s or 0:g} s to {'its end' if end_s is None else f'{end_s:g} s'}"
        raise AudioError(f"{path} lasts {frames / rate:.3f} s: {asked} is not in it", "out-of-range")
    return AudioStretch(path, round(start), round(stop) - round(start), rate, decode)


def files_below(folder: Path, report: Callable[[str], object]) -> Iterator[Path]:
    """List the files below a folder in order, without hidden ones; `report` gets a line for each fault."""
    for at, folders, files in os.walk(folder, onerror=lambda e: report(f"{e.filename} cannot be listed: {e.strerror}")):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for link in filter(os.path.islink, (Path(at, name) for name in folders)):
            report(f"{link} is a link to a folder, which is not followed")  # it may form a loop
        yield from (Path(at, name) for name in sorted(files) if not name.startswith("."))


def resampled_length(samples: int, rate: int, new_rate: int) -> int:
    """How many samples `waves.Resampler` yields for `samples`."""
    return -(-samples * new_rate // rate)


@lru_cache(maxsize=1 << 16)
def _examined(path: Path, size: int, changed_ns: int) -> tuple[int, int, Callable]:
    """Number of frames in a file, their rate in Hz, and what decodes them; a changed file is examined again."""
    if not size:
        raise AudioError(f"{path} is an empty file", "empty")
    with path.open("rb") as file:
        head = file.read(2)
    if head == b"ID" or (head[0] == 0xFF and head[1:] >= b"\xe0"):  # libsndfile trusts the length in an MP3's header
        return *ffmpeg.length(path), ffmpeg.blocks
    try:
        with _sound_file(path) as file:
            if _reads_whole(path, file):
                return file.frames, file.samplerate, _sndfile_blocks
    except soundfile.LibsndfileError as error:
        if error.code not in (1, 3, 4):  # of formats, files and encodings that it does not know; ffmpeg may
            cause = error.error_string.strip(" .")  # the exception's text repeats the path
            raise AudioError(f"{path} is damaged or truncated: {cause}; get the file again") from None
    return *ffmpeg.length(path), ffmpeg.blocks


def _sound_file(path: Path) -> soundfile.SoundFile:
    """Open a file by its descriptor: by its name, libsndfile may take text for audio and print messages."""
    return soundfile.SoundFile(os.open(path, os.O_RDONLY), closefd=True)


def _reads_whole(path: Path, file: soundfile.SoundFile) -> bool:
    """Whether libsndfile reads every frame; ffmpeg reads other files. AudioError if frames are missing."""
    frames = file.frames
    if file.format not in _FORMATS or file.subtype.startswith("MPEG"):
        return False
    _refuse_false_header(path, file)
    if file.format in _BEGINS and _is_joined(path, _BEGINS[file.format]):
        if file.format == "FLAC":
            raise AudioError(f"{path} holds several FLAC streams: decode each on its own")
        return False
    if file.format == "FLAC" and frames != _UNKNOWN:
        found, _ = ffmpeg.length(path)
        if found < frames:
            raise truncated(path, f"its header promises {frames} frames, but {found} are there")
        return found == frames
    return 0 < frames < _UNKNOWN


def _refuse_false_header(path: Path, file: soundfile.SoundFile) -> None:
    """Raise AudioError if the file is truncated or unfinished by what its header promises."""
    for name, promised, there in _CUT.findall(file.extra_info):
        whole = name.lower().startswith("riff")
        missing = int(promised) - int(there)
        if (8 if whole else 0) < missing and (whole or int(promised) < _STREAMED):
            raise truncated(path, f"{missing} of the bytes that its header promises are missing")
    if "lacks an end-of-stream bit" in file.extra_info:
        raise truncated(path, "its last page is missing")
    if file.format == "NIST":
        promised = re.search(rb"sample_count -i (\d+)", os.pread(file.name, 1024, 0))
        if promised and int(promised[1]) > file.frames:
            raise truncated(path, f"its header promises {int(promised[1])} frames, but {file.frames} are there")
    if file.format not in _BEGINS and file.frames and file.subtype.startswith(_EVEN):
        file.seek(file.frames)
        end, size = os.lseek(file.name, 0, os.SEEK_CUR), os.fstat(file.name).st_size
        if size - end > size / 10 and not _CHUNK.match(os.pread(file.name, 11, end)):
            raise truncated(path, f"its header promises {file.frames} frames, but its data continues after them")


def _is_joined(path: Path, begin: bytes) -> bool:
    """Whether streams follow the first one, the only one that libsndfile reads."""
    found, data = 0, b""
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            data = data[1 - len(begin) :] + block  # a beginning may lie across two blocks
            found += data.count(begin)
    return found > 1


def _sndfile_blocks(path: Path, start: int, frames: int) -> Iterator[np.ndarray]:
    try:
        with _sound_file(path) as file:
            size = max(1, min(int(BLOCK_S * file.samplerate), BLOCK_VALUES // file.channels))
            if start and file.seekable() and not file.subtype.startswith(("DWVW", "OPUS")):  # it seeks wrongly in these
                file.seek(start)
                start = 0
            file.seekable = lambda: False  # else soundfile seeks after every read, which fails in some encodings
            while start and (skipped := len(file.read(min(size, start), dtype="float32", always_2d=True))):
                start -= skipped
            while len(block := file.read(min(size, frames), dtype="float32", always_2d=True)):
                frames -= len(block)
                yield block
    except soundfile.LibsndfileError as error:
        cause = error.error_string.strip(" .")
        raise AudioError(f"{path} cannot be decoded to its end: {cause}", "truncated") from None
