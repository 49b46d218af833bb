"""`toolkit cache`: what the feature cache holds, and deleting from it; no torch."""

import time
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from toolkit.data.cache.store import LIMIT, StoredFrontEnd, features_folder, limit_bytes, megabytes, stored_front_ends
from toolkit.errors import CacheError, did_you_mean
from toolkit.terminal import console_for_output


def cache_info() -> dict[str, Any]:
    """The folder, its size and limit in bytes, and what is known of each front end, the last used first."""
    root, front_ends = features_folder(), stored_front_ends(features_folder())
    return {
        "folder": str(root),
        "bytes": sum(stored.bytes for stored in front_ends),
        "limit_bytes": round(limit_bytes()),
        "front_ends": [
            {
                "name": stored.path.name,
                "entries": stored.count(),
                "bytes": stored.bytes,
                "last_used": stored.last_used,
                **{key: value for key, value in stored.description().items() if key != "format"},
            }
            for stored in reversed(front_ends)
        ],
    }


def print_cache_info() -> None:
    """The same for readers."""
    console, info = console_for_output(), cache_info()
    console.print(Text(f"{info['folder']}: {megabytes(info['bytes'])} of {megabytes(info['limit_bytes'])} ({LIMIT})"))
    if not info["front_ends"]:
        return
    table = Table(box=box.SIMPLE, header_style="bold")
    table.add_column("front end", no_wrap=True)
    table.add_column("class", overflow="fold")
    for header in ("entries", "MB"):
        table.add_column(header, justify="right")
    table.add_column("last used", no_wrap=True)
    for row in info["front_ends"]:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(row["last_used"]))
        cells = (row["name"], row.get("class", "?"), str(row["entries"]), f"{row['bytes'] / 1e6:.1f}", used)
        table.add_row(*map(Text, cells))
    console.print(table)


def chosen(names: Sequence[str]) -> list[StoredFrontEnd]:
    """The front ends of these names, or of names that begin so; all where no name is given.

    Raises:
        CacheError: if there is none of a name.
    """
    front_ends = stored_front_ends(features_folder())
    for name in names:
        if not any(stored.path.name.startswith(name) for stored in front_ends):
            known = [stored.path.name for stored in front_ends]
            raise CacheError(
                f"No front end in {features_folder()} is called {name!r}.{did_you_mean(name, known)} "
                "`toolkit cache info` lists them."
            )
    return [stored for stored in front_ends if not names or stored.path.name.startswith(tuple(names))]


def clear(front_ends: Sequence[StoredFrontEnd]) -> tuple[int, list[str]]:
    """Delete front ends.

    Returns:
        The bytes that were freed, and the names of those that are being computed and therefore stay.
    """
    freed, busy = 0, []
    for stored in front_ends:
        if stored.remove():
            freed += stored.bytes
        else:
            busy.append(stored.path.name)
    return freed, busy
