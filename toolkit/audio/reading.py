"""Find audio files, check their lengths and decode them block by block; no torch."""

import os
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile

from toolkit.audio import ffmpeg
from toolkit.audio.mpeg import truncated
from toolkit.errors import AudioError
from toolkit.files import kind_unless_file

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
_SEEKS_WRONGLY = ("DWVW", "OPUS")  # encodings in which libsndfile seeks to a wrong frame
# libsndfile's log of a truncated file: the size of its data, or of all of it (riff), which may be off by a few bytes.
_CUT = re.compile(r"^ *(data|SSND|BODY|Data Size|riff|Riff size) *: (\d+) \(should be (\d+)\)", re.M)
_SEEMS_CUT = re.compile(r"seems to be (?:a )?truncated|^Data length \d+ should be", re.I | re.M)  # VOC, MAT4, WVE
_FRAMES = re.compile(r"(?:Frames|Cols) *: (\d+)")  # AVR, MPC2K, MAT4, MAT5; the last match is the data's
_NO_CHUNK = re.compile(r"Unknown chunk marker(?: \(\w+\))? at position (0x[0-9A-F]+|\d+)")
_AU_DATA = re.compile(r"Data Offset : (\d+)\n +Data Size +: (\d+)")
# How a stream begins, with the bytes that takes: an Ogg page with flag 2; FLAC's description, whose last 36 bits are
# the number of samples.
_BEGINS = {"OGG": (re.compile(rb"OggS\0\x02"), 6), "FLAC": (re.compile(rb"fLaC\0\0\0\x22.{13}(.{5})", re.S), 26)}
_SEARCHED = 2**20  # bytes at a time
_NIST_FRAMES = re.compile(rb"sample_count -i (\d+)")
_NOT_RECOGNISED = (1, 4)  # libsndfile's error codes for unknown formats and encodings


@dataclass(frozen=True)
class AudioStretch:
    """A file, or `frames` of it from frame `start` on; `rate` is its sample rate in Hz."""

    path: Path
    start: int
    frames: int
    rate: int
    decode: Callable[[Path, int, int], Iterator[np.ndarray]]  # (path, start, frames) -> blocks

    def samples(self, sample_rate: int) -> int:
        """Number of samples that `waves` makes of it at a sample rate in Hz."""
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
        if what := kind_unless_file(path):
            raise AudioError(f"{path} is {what}, not an audio file")
        found = path.stat()
        frames, rate, decode = _examined(path, found.st_size, found.st_mtime_ns)
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
    """List the files below a folder in order, without names that begin with a dot; `report` gets a line for each fault.

    Linked folders are faults: they are not followed, since they may form a loop.
    """
    for at, folders, files in os.walk(folder, onerror=lambda e: report(f"{e.filename} cannot be listed: {e.strerror}")):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for link in filter(os.path.islink, (Path(at, name) for name in folders)):
            report(f"{link} is a link to a folder, which is not followed")
        yield from (Path(at, name) for name in sorted(files) if not name.startswith("."))


def resampled_length(samples: int, rate: int, new_rate: int) -> int:
    """Return how many samples `waves.Resampler` makes of `samples`.

    >>> resampled_length(48001, 48000, 16000)
    16001
    """
    return -(-samples * new_rate // rate)


@lru_cache(maxsize=1 << 16)
def _examined(path: Path, size: int, changed_ns: int) -> tuple[int, int, Callable]:
    """Number of frames in a file, their rate in Hz, and what decodes them; a changed file is examined again."""
    if not size:
        raise AudioError(f"{path} is an empty file", "empty")
    with path.open("rb") as file:
        head = file.read(4)
    # libsndfile trusts the length in an MP3's header; a CAF that was written to a pipe states none.
    if head[:2] == b"ID" or (head[0] == 0xFF and head[1:2] >= b"\xe0") or (head == b"caff" and _caf_data(path)[1] <= 0):
        return *ffmpeg.length(path), ffmpeg.blocks
    try:
        with _sound_file(path) as file:
            _refuse_false_header(path, file)
            if _reads_whole(path, file):
                return file.frames, file.samplerate, _sndfile_blocks
    except soundfile.LibsndfileError as error:
        if error.code not in _NOT_RECOGNISED:
            raise AudioError(f"{path} is damaged or truncated: {_cause(error)}; get the file again") from None
    return *ffmpeg.length(path), ffmpeg.blocks


def _sound_file(path: Path) -> soundfile.SoundFile:
    """Open a file by its descriptor: by its name, libsndfile may take text for audio and print messages."""
    return soundfile.SoundFile(os.open(path, os.O_RDONLY), closefd=True)


def _refuse_false_header(path: Path, file: soundfile.SoundFile) -> None:
    """Raise AudioError if the file is truncated or unfinished by what its header promises."""
    log, frames = file.extra_info, file.frames
    for name, promised, there in _CUT.findall(log):
        whole = name.lower().startswith("riff")
        missing = int(promised) - int(there)
        if (8 if whole else 0) < missing and (whole or int(promised) < _STREAMED):
            raise truncated(path, f"{missing} of the bytes that its header promises are missing")
    ends = [int(position, 0) for position in _NO_CHUNK.findall(log)[:1]]
    ends += [int(start) + int(length) for start, length in _AU_DATA.findall(log)]
    ends += [sum(_caf_data(path))] if file.format == "CAF" else []
    if frames and any(_goes_on(path, end) for end in ends):
        raise truncated(path, f"its header promises {frames} frames, but its data continues after them")
    if _SEEMS_CUT.search(log) or any(frames < int(promised) for promised in _FRAMES.findall(log)[-1:]):
        raise truncated(path, f"its header does not match the {frames} frames that are there")
    if file.format == "SDS":
        raise AudioError(f"{path} is a MIDI sample dump, which cannot be read reliably; convert it to WAV or FLAC")
    if "lacks an end-of-stream bit" in log:
        raise truncated(path, "its last page is missing")
    if file.format == "NIST":
        with path.open("rb") as text:
            promised = _NIST_FRAMES.search(text.read(1024))
        if promised and not 0.9 * frames <= int(promised[1]) <= frames:
            raise truncated(path, f"its header promises {int(promised[1])} frames, but {frames} are there")


def _reads_whole(path: Path, file: soundfile.SoundFile) -> bool:
    """Whether libsndfile reads every frame; ffmpeg reads other files. AudioError if a FLAC file is truncated."""
    frames = file.frames
    if file.format in _BEGINS and _is_joined(path, file.format):
        return False
    if file.format == "FLAC" and frames != _UNKNOWN:
        found = ffmpeg.flac_length(path, frames)
        if found < frames:
            raise truncated(path, f"its header promises {frames} frames, but {found} are there")
        return found == frames
    return 0 < frames < _UNKNOWN and not file.subtype.startswith("MPEG")


def _caf_data(path: Path) -> tuple[int, int]:
    """Start and length of a CAF's data in bytes, by its headers (length -1: to the file's end); (0, 0) if not found."""
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(12)) == 12:
            name, length = struct.unpack(">4sq", head)
            if name == b"data":
                return file.tell(), length
            file.seek(min(max(length, 0), 1 << 32), os.SEEK_CUR)
    return 0, 0


def _goes_on(path: Path, end: int) -> bool:
    """Whether data continues after the end that the header gives, other than padding, a tag or a CAF chunk."""
    with path.open("rb") as file:
        magic = file.read(4)
        file.seek(end)
        rest = file.read(4)
        size = file.seek(0, os.SEEK_END)
    return rest == magic or (size - end > size / 10 and not re.fullmatch(rb"[a-z]{4}", rest))


def _is_joined(path: Path, form: str) -> bool:
    """Whether streams follow the one that libsndfile reads; AudioError if ffmpeg cannot separate FLAC streams."""
    (begin, size), found, data = _BEGINS[form], [], b""
    with path.open("rb") as file:
        while block := file.read(_SEARCHED):
            data = data[1 - size :] + block  # the end of the last block may be the start of a beginning
            found += begin.findall(data)
    if form == "FLAC" and len(found) > 1:
        frames = [int.from_bytes(length, "big") % 2**36 for length in found]
        if 0 in frames or ffmpeg.length(path)[0] != sum(frames):
            raise AudioError(f"{path} holds {len(found)} FLAC streams that cannot be separated; decode each on its own")
    return len(found) > 1


def _sndfile_blocks(path: Path, start: int, frames: int) -> Iterator[np.ndarray]:
    try:
        with _sound_file(path) as file:
            size = max(1, min(int(BLOCK_S * file.samplerate), BLOCK_VALUES // file.channels))
            if start and file.seekable() and not file.subtype.startswith(_SEEKS_WRONGLY):
                file.seek(start)
                start = 0
            file.seekable = lambda: False  # else soundfile seeks after every read, which fails in some encodings
            while start and (skipped := len(file.read(min(size, start), dtype="float32", always_2d=True))):
                start -= skipped
            while len(block := file.read(min(size, frames), dtype="float32", always_2d=True)):
                frames -= len(block)
                yield block
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path} cannot be decoded to its end: {_cause(error)}", "truncated") from None


def _cause(error: soundfile.LibsndfileError) -> str:
    return error.error_string.strip().rstrip(".")  # the exception's text repeats the path
