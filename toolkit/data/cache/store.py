"""The feature cache's folder: what is in it, how much it may hold, who goes first, who may write; no torch."""

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from toolkit.data.cache.shards import DESCRIPTION, REMEDY, delete
from toolkit.errors import CacheError
from toolkit.files import DISTRIBUTION

FOLDER, LIMIT = "TOOLKIT_CACHE", "TOOLKIT_CACHE_GB"
DEFAULT_LIMIT_GB = 20.0


def features_folder() -> Path:
    """Where the front ends' folders are: below $TOOLKIT_CACHE, else in the user's cache folder."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get(FOLDER) or user / DISTRIBUTION) / "features"


def limit_bytes() -> float:
    """What all front ends together may take, in bytes: $TOOLKIT_CACHE_GB, else 20 GB.

    Raises:
        CacheError: if the variable holds no number.
    """
    text = os.environ.get(LIMIT) or str(DEFAULT_LIMIT_GB)
    try:
        limit = float(text)
    except ValueError:
        limit = -1.0
    if not limit >= 0:
        raise CacheError(f"{LIMIT} is {text!r}: a number of gigabytes is needed, such as 20.")
    return limit * 1e9


@dataclass(frozen=True)
class StoredFrontEnd:
    """A front end's folder as a reader sees it; last_used in Unix seconds."""

    path: Path
    bytes: int
    last_used: float

    @property
    def lock(self) -> Path:
        """The file that is locked by who computes."""
        return lock_of(self.path)

    def description(self) -> dict[str, Any]:
        """What the front end is; nothing where that is not known."""
        try:
            return dict(json.loads((self.path / DESCRIPTION).read_text()))
        except (OSError, ValueError, TypeError):
            return {}

    def count(self) -> int:
        """Entries, that is utterances."""
        total = 0
        for index in self.path.glob("*.json"):
            if index.name != DESCRIPTION:
                with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                    total += len(json.loads(index.read_text())["entries"])
        return total

    def remove(self) -> bool:
        """Delete it unless a process computes it at the moment; those that read it go on reading.

        Returns: whether it was deleted. Raises: CacheError if that is not allowed.
        """
        with locked(self.lock, wait=False) as held:
            if held:
                for file in sorted(self.path.glob("*"), key=lambda file: file.suffix != ".json"):  # indices first
                    delete(file)
                with contextlib.suppress(OSError):
                    self.path.rmdir()
            return held


def stored_front_ends(root: Path) -> list[StoredFrontEnd]:
    """All front ends, the least recently used first."""
    found = []
    for path in root.glob("*/"):
        with contextlib.suppress(OSError):  # it may go while it is looked at
            if path.is_dir():
                known = path / DESCRIPTION
                used = (known if known.exists() else path).stat().st_mtime
                found.append(StoredFrontEnd(path, sum(file.stat().st_size for file in path.glob("*")), used))
    return sorted(found, key=lambda stored: (stored.last_used, stored.path.name))


def make_room(root: Path, needed: float, *, keep: Collection[Path], say: Callable[[str], None]) -> None:
    """Evict the least recently used front ends until so many bytes fit under the limit.

    Args:
        root: the folder of all front ends.
        needed: bytes that are about to be written.
        keep: folders that stay.
        say: prints a line about each one evicted, and where the rest is above the limit nevertheless.
    """
    limit, stored = limit_bytes(), stored_front_ends(root)
    total = needed + sum(front_end.bytes for front_end in stored)
    for front_end in stored:
        if total <= limit:
            return
        if front_end.path not in keep and front_end.remove():
            total -= front_end.bytes
            say(f"Evicted from the feature cache, used least recently: {front_end.path} ({megabytes(front_end.bytes)})")
    if total > limit:
        say(f"The feature cache grows to {megabytes(total)}, all in use; {LIMIT} allows {megabytes(limit)}: {root}")


def lock_of(folder: Path) -> Path:
    """The lock of a front end's folder: beside it, so that it outlives the folder."""
    return folder.with_name(f"{folder.name}.lock")


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True, say: Callable[[str], None] = print) -> Iterator[bool]:
    """Hold a lock between processes.

    Args:
        path: the file that is locked.
        wait: whether to wait for another process, which is said once.
        say: prints a line.

    Returns:
        Whether it is held: always where it waits.

    Raises:
        CacheError: if the file cannot be made or locked.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise CacheError(f"{path} cannot be made ({error.strerror or error}): {REMEDY}.") from error
    with file:
        try:
            held = _try_lock(file)
            if not held and wait:
                say(f"Waits for another process that computes the same features: {path}")
                fcntl.flock(file, fcntl.LOCK_EX)
                held = True
        except OSError as error:
            raise CacheError(f"{path} cannot be locked ({error.strerror or error}): {REMEDY}.") from error
        try:
            yield held
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # a forked child may hold the file open


def _try_lock(file: IO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def megabytes(size: float) -> str:
    """Bytes in words.

    >>> megabytes(1_234_567)
    '1.2 MB'
    """
    return f"{size / 1e6:.1f} MB"
