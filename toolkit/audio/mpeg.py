"""Find the frames of MPEG audio (MP3, MP2) among tags and damage (ISO/IEC 11172-3 and 13818-3)."""

import mmap
import re
from functools import lru_cache
from pathlib import Path

from toolkit.errors import AudioError

FARTHEST = 1 << 20  # bytes that are searched for the next frame
_KBITS = {  # (is MPEG 1, layer) -> kbit/s for the indices 1, 2, ... of a frame's header
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    **dict.fromkeys([(False, 2), (False, 3)], (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)),
}
_HALVED = {3: 0, 2: 1, 0: 2}  # version bits -> how often the sample rate is halved: MPEG 1, 2, 2.5
_SYNC = re.compile(rb"\xff[\xe2-\xff][\x10-\xef]")
_INFO = re.compile(rb"(?:Xing|Info)\0\0\0[^\0](.{4})", re.S)  # the number of frames that follow


@lru_cache(maxsize=1 << 12)
def find_frames(path: Path, size: int, changed_ns: int) -> tuple[tuple[tuple[int, int], ...], int]:
    """Find the runs of consecutive MPEG frames in a file, without tags and junk; a changed file is searched again.

    Returns: (start, stop) of each run, in bytes, or () if the file can be decoded as it is (no MPEG audio, or frames
        with usual tags only); the number of frames that its header promises, or 0.
    Raises: AudioError if there is damage between two runs, or much of it behind the last one.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if path.suffix.lower() not in (".mp3", ".mp2") and not re.match(rb"ID3|\xff[\xe2-\xff]", data):
            return (), 0
        runs, begin = [], _skip_tags(data, 0)
        after = begin
        while (start := _next_frame(data, after)) is not None:
            if runs and start > after:
                raise AudioError(f"{path} is damaged: its bytes {after} to {start} are not MPEG audio; get it again")
            at = start
            while (length := _length(data, at)) and at + length <= size:
                at += length
            runs.append((start, at))
            after = _skip_tags(data, at)
        info = runs and _INFO.search(data, runs[0][0], min(runs[0][1], runs[0][0] + 200))
        promised = int.from_bytes(info[1], "big") if info else 0
        if runs and not promised and size - after > size / 10:
            raise truncated(path, f"the last {size - after} of its {size} bytes are not MPEG audio")
        plain = after == size and len(runs) == 1 and runs[0][0] == begin and size - runs[0][1] in (0, 128)
    return () if plain else tuple(runs), promised


def truncated(path: Path, why: str) -> AudioError:
    """The error for a file that ends too early."""
    return AudioError(f"{path} is truncated: {why}; get the file again", "truncated")


def _length(data: mmap.mmap, at: int) -> int:
    """Length in bytes of the frame that begins at a position; 0 if none does."""
    if not _SYNC.match(data, at):
        return 0
    version, layer = data[at + 1] >> 3 & 3, 4 - (data[at + 1] >> 1 & 3)
    index, rate = data[at + 2] >> 4, data[at + 2] >> 2 & 3
    if version == 1 or layer not in (2, 3) or rate == 3:
        return 0
    bits = 1000 * _KBITS[version == 3, layer][index - 1]
    hz, padding = (44_100, 48_000, 32_000)[rate] >> _HALVED[version], data[at + 2] >> 1 & 1
    return (72 if layer == 3 and version != 3 else 144) * bits // hz + padding


def _next_frame(data: mmap.mmap, at: int) -> int | None:
    """Start of the next run: three frames in a row, or fewer up to the file's end or a tag; None if none is near."""

    def begins(at: int) -> bool:
        for _ in range(3):
            length = _length(data, at)
            at += length
            if not length or at > len(data):
                return False
            if at == len(data) or _skip_tags(data, at) > at:
                return True
        return True

    starts = (found.start() for found in _SYNC.finditer(data, at, min(len(data), at + FARTHEST)))
    return next(filter(begins, starts), None)


def _skip_tags(data: mmap.mmap, at: int) -> int:
    """Skip the ID3 tags, if any, that begin at a position; return the position behind them."""
    while (head := data[at : at + 10]).startswith((b"TAG", b"ID3")):
        sizes = zip(head[6:], (21, 14, 7, 0), strict=False)
        length = 128 if head[:3] == b"TAG" else 10 + sum(byte << shift for byte, shift in sizes)
        if at + length > len(data):
            break
        at += length
    return at
