"""Features on disk: shards of utterances in the folder of a front end, mapped into memory; no torch.

A front end's folder holds `front-end.json` (what it is; its time is when it was last used) and shards: `NAME.npy`, the
values of some utterances, flat, and `NAME.json`, where each utterance's values are in it. The index is written last: a
shard without it does not count.
"""

import contextlib
import io
import json
import os
import uuid
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.errors import CacheError

DESCRIPTION = "front-end.json"
SHARD_BYTES, SHARD_ENTRIES = 64_000_000, 500  # a shard is written when it holds so much: what a kill can cost
REMEDY = "make room, set TOOLKIT_CACHE to a folder elsewhere, or give --training.feature_cache_mb 0"


class Shard:
    """A flat file of values, mapped into memory; deleted while it is mapped, it stays readable.

    Args:
        path: the .npy file.

    Raises:
        OSError: if it cannot be read. ValueError: if it is no such file, or shorter than it says.
    """

    def __init__(self, path: Path):
        self.path = path
        mapped = np.lib.format.open_memmap(path, mode="c")  # tensors may be made of it, and the file stays as it is
        self.values: np.ndarray = np.asarray(mapped)

    def __reduce__(self):  # a process that gets it maps the file itself
        return Shard, (self.path,)


@dataclass(frozen=True)
class Entry:
    """The features of an utterance's segments.

    Args:
        shard: the file they are in.
        offset: of the first value.
        frames: of each segment, which follow each other.
        channels: values of a frame.
    """

    shard: Shard
    offset: int
    frames: tuple[int, ...]
    channels: int

    @property
    def values(self) -> int:
        """How many values it has."""
        return sum(self.frames) * self.channels

    def spans(self) -> list[tuple[int, int]]:
        """The first value and the number of frames of each segment."""
        starts = np.cumsum([0, *self.frames[:-1]])
        return [(self.offset + int(s) * self.channels, n) for s, n in zip(starts, self.frames, strict=True)]


class FrontEndFolder:
    """What is stored of one front end.

    Args:
        path: its folder; it is made when something is written.
        description: what the front end is, for readers.

    Attributes:
        entries: key -> Entry, of those that were asked for and found.
    """

    def __init__(self, path: Path, description: Mapping[str, Any]):
        self.path, self.description = path, dict(description)
        self.entries: dict[str, Entry] = {}
        self._damaged: set[Path] = set()

    def find(self, wanted: Collection[str], *, say: Callable[[str], None]) -> None:
        """Map the shards that hold wanted entries. A damaged one counts as not there, which is said.

        Raises: CacheError if one may not be read.
        """
        with contextlib.suppress(OSError):  # nothing there yet, or somebody else's
            os.utime(self.path / DESCRIPTION)
        wanted = {key for key in wanted if key not in self.entries}
        for index in sorted(self.path.glob("*.json")) if wanted else ():
            if index.name == DESCRIPTION or index in self._damaged:
                continue
            try:
                self.entries |= _read_shard(index, wanted)
            except FileNotFoundError:
                continue  # evicted by another process
            except OSError as error:
                raise CacheError(
                    f"{index} or its values cannot be read ({error.strerror or error}): {REMEDY}."
                ) from error
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                self._damaged.add(index)
                reason = " ".join(str(error).split())
                say(f"A part of the feature cache is damaged and computed again: {index} ({reason})")

    def clean(self) -> None:
        """Delete what a killed process left half written, and damaged shards; for who holds the lock.

        Raises: CacheError if that is not allowed.
        """
        whole = {index.stem for index in self.path.glob("*.json") if index not in self._damaged}
        whole &= {file.stem for file in self.path.glob("*.npy")}
        for file in self.path.glob("*"):
            if file.name != DESCRIPTION and (file.stem not in whole or file.suffix == ".partial"):
                delete(file)
        self._damaged.clear()

    def write(self, rows: Mapping[str, Sequence[np.ndarray]]) -> dict[str, Entry]:
        """Write a shard, its index last.

        Args: rows: key -> of each segment [frames, channels].
        Returns: key -> entry.
        Raises: CacheError if it cannot be written.
        """
        flat = [np.ascontiguousarray(segment) for segments in rows.values() for segment in segments]
        entries, offset, checksum = {}, 0, 0
        for key, segments in rows.items():
            entries[key] = [offset, [len(segment) for segment in segments], segments[0].shape[1]]
            offset += sum(segment.size for segment in segments)
        for segment in flat:
            checksum = zlib.crc32(segment, checksum)
        dtype = flat[0].dtype
        index = {"entries": entries, "dtype": dtype.str, "values": offset, "crc32": checksum}
        name = uuid.uuid4().hex[:16]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not (self.path / DESCRIPTION).is_file():
                _write(self.path / DESCRIPTION, [_json(self.description)])
            _write(self.path / f"{name}.npy", [_array_header(dtype, offset), *(segment.data for segment in flat)])
            _write(self.path / f"{name}.json", [_json(index)])
            shard = Shard(self.path / f"{name}.npy")
        except OSError as error:
            raise CacheError(f"{self.path} could not be written ({error.strerror or error}): {REMEDY}.") from error
        written = {key: Entry(shard, at, tuple(frames), size) for key, (at, frames, size) in entries.items()}
        self.entries |= written
        return written


class ShardWriter:
    """Collects entries and writes them in shards.

    Args:
        folder: where they go.
        writers: how many write at the same time; together they hold no more than one would.
    """

    def __init__(self, folder: FrontEndFolder, *, writers: int = 1):
        self.folder = folder
        self._most_bytes, self._most_entries = SHARD_BYTES // writers, SHARD_ENTRIES // writers
        self._rows: dict[str, Sequence[np.ndarray]] = {}
        self._bytes = 0

    def add(self, key: str, segments: Sequence[np.ndarray]) -> dict[str, Entry]:
        """Take an entry, of each segment [frames, channels]; returns what was written if that filled a shard."""
        self._rows[key] = segments
        self._bytes += sum(segment.nbytes for segment in segments)
        full = self._bytes >= self._most_bytes or len(self._rows) >= self._most_entries
        return self.flush() if full else {}

    def flush(self) -> dict[str, Entry]:
        """Write what was collected, and return it."""
        if not self._rows:
            return {}
        rows, self._rows, self._bytes = self._rows, {}, 0
        return self.folder.write(rows)


def delete(file: Path) -> None:
    """Delete a file, or find it deleted.

    Raises:
        CacheError: if that is not allowed.
    """
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise CacheError(f"{file} cannot be deleted ({error.strerror or error}): {REMEDY}.") from error


def _read_shard(index: Path, wanted: Collection[str]) -> dict[str, Entry]:
    """The wanted entries of a shard, which is mapped and checked if there are any."""
    content = json.loads(index.read_text())
    found = {key: content["entries"][key] for key in wanted if key in content["entries"]}
    if not found:
        return {}
    shard = Shard(index.with_suffix(".npy"))
    if shard.values.shape != (content["values"],) or zlib.crc32(shard.values) != content["crc32"]:
        raise ValueError("its values are not those that were written")
    entries = {key: Entry(shard, at, tuple(frames), size) for key, (at, frames, size) in found.items()}
    if any(entry.offset + entry.values > content["values"] for entry in entries.values()):
        raise ValueError("its index leads beyond its values")
    return entries


def _array_header(dtype: np.dtype, values: int) -> bytes:
    header = io.BytesIO()
    what = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (values,)}
    np.lib.format.write_array_header_1_0(header, what)
    return header.getvalue()


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value) + "\n").encode()


def _write(path: Path, parts: Sequence[bytes | memoryview]) -> None:
    """Write a file aside, then rename it. After a power failure it may be damaged, which its readers find."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            for part in parts:
                file.write(part)
        partial.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
