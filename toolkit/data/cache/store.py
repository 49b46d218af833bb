"""The feature cache's folder: what is in it, how much it may hold, what is removed first; no torch.

`features/KEY` holds the features of one front end: `front-end.json` describes it (its modification time is the last
use), and each utterance has a file. Runs that use the front end share a lock on `features/KEY.lock`.
"""

import contextlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.errors import ToolkitError
from toolkit.files import cache_folder, locked, parse_json, read_text

LIMIT_VARIABLE = "TOOLKIT_CACHE_GB"
DESCRIPTION, SUFFIX = "front-end.json", ".safetensors"
REMEDY = "make room, set TOOLKIT_CACHE to another folder, or give --training.feature_cache_mb 0"


def features_folder() -> Path:
    """Where the front ends' folders are: below $TOOLKIT_CACHE, else in the user's cache folder."""
    return Path(os.environ.get("TOOLKIT_CACHE") or cache_folder()) / "features"


def limit_bytes() -> float:
    """Bytes that all front ends may take: $TOOLKIT_CACHE_GB, else 20 GB; ToolkitError if that is not a number."""
    text = os.environ.get(LIMIT_VARIABLE) or "20"
    try:
        limit = float(text)
    except ValueError:
        limit = -1.0
    if not limit >= 0:
        raise ToolkitError(f"{LIMIT_VARIABLE} is {text!r}: a number of gigabytes is needed, such as 20.")
    return limit * 1e9


@dataclass(frozen=True)
class StoredFrontEnd:
    """A front end's folder: its size and when it was last used, in Unix seconds."""

    path: Path
    bytes: int
    utterances: int
    last_used: float

    def description(self) -> dict[str, Any]:
        """The description of the front end; empty if it cannot be read."""
        try:
            return dict(parse_json(read_text(self.path / DESCRIPTION), strict=True))
        except (OSError, ValueError, TypeError):
            return {}

    def remove(self) -> bool:
        """Delete it unless a run uses it; return whether it was deleted."""
        with locked(lock_of(self.path), wait=False) as held:
            if held:
                with contextlib.suppress(FileNotFoundError):
                    shutil.rmtree(self.path)
            return held


def lock_of(folder: Path) -> Path:
    """The lock of a front end's folder: beside it, so that it outlives the folder."""
    return folder.with_name(f"{folder.name}.lock")


def stored_front_ends() -> list[StoredFrontEnd]:
    """All front ends, the least recently used first; folders without a description are not the toolkit's."""
    stored = []
    for known in features_folder().glob(f"*/{DESCRIPTION}"):
        with contextlib.suppress(OSError):  # it may be deleted meanwhile, and files that a run is writing are renamed
            files = [file for file in os.scandir(known.parent) if not file.name.endswith(".partial")]
            sizes = {file.name: file.stat().st_size for file in files}
            utterances = sum(name.endswith(SUFFIX) for name in sizes)
            stored.append(StoredFrontEnd(known.parent, sum(sizes.values()), utterances, known.stat().st_mtime))
    return sorted(stored, key=lambda one: (one.last_used, one.path.name))


def make_room(needed: float, *, say: Callable[[str], None]) -> None:
    """Remove least recently used front ends that no run uses, until `needed` bytes fit under the limit; say which."""
    limit, stored = limit_bytes(), stored_front_ends()
    total = needed + sum(front_end.bytes for front_end in stored)
    for front_end in stored:
        if total <= limit:
            return
        if front_end.remove():
            total -= front_end.bytes
            say(f"Removed from the feature cache, least recently used: {front_end.path} ({megabytes(front_end.bytes)})")
    if total > limit:
        problem = f"grows to {megabytes(total)}, all in use; {LIMIT_VARIABLE} allows {megabytes(limit)}"
        say(f"The feature cache {problem}: {features_folder()}")


def megabytes(size: float) -> str:
    """A number of bytes for a message."""
    return f"{size / 1e6:.1f} MB"
