"""`toolkit cache`: show the feature cache and delete from it; no torch."""

import math
import sys
import time
from collections.abc import Mapping
from typing import Any

import click

from toolkit.cli.commands import Commands
from toolkit.cli.options import as_json, show
from toolkit.cli.tables import plain_table
from toolkit.data.cache.store import (
    LIMIT_VARIABLE,
    StoredFrontEnd,
    features_folder,
    limit_bytes,
    megabytes,
    stored_front_ends,
)
from toolkit.errors import CacheError
from toolkit.terminal import console_for_output, say


@click.group("cache", cls=Commands)
def cache():
    """Show or delete the features of front ends that are kept on disk for all runs."""


@cache.command("info")
@as_json
def info(as_json: bool):
    """Show the cache's folder, size and limit, and one row for each front end."""
    front_ends, limit = stored_front_ends(), limit_bytes()
    found = {
        "folder": str(features_folder()),
        "bytes": sum(stored.bytes for stored in front_ends),
        "limit_bytes": round(limit) if math.isfinite(limit) else None,
        "front_ends": [_facts(stored) for stored in reversed(front_ends)],  # the last used first
    }
    show(found, _print_info, as_json=as_json)


@cache.command("clear")
@click.argument("names", nargs=-1, metavar="[FRONT_END]...")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def clear(names: tuple[str, ...], yes: bool):
    """Delete the features of every FRONT_END, given by its name or the beginning of it; all if none is given.

    Features that a run is using stay, and the exit code is 1.
    """
    folder = features_folder()
    stored_here = stored_front_ends()
    for name in names:
        if not name or not any(stored.path.name.startswith(name) for stored in stored_here):
            raise CacheError(f"No front end in {folder} is called {name!r}: `toolkit cache info` lists them.")
    front_ends = [stored for stored in stored_here if stored.path.name.startswith(names or "")]
    if not front_ends:
        click.echo(f"Nothing to delete in {folder}.")
        return
    if not yes:
        size = megabytes(sum(stored.bytes for stored in front_ends))
        listed = ", ".join(stored.path.name for stored in front_ends)
        click.confirm(f"Delete {size} of {listed} in {folder}?", abort=True)
    kept = [stored for stored in front_ends if not stored.remove()]
    click.echo(f"Freed {megabytes(sum(stored.bytes for stored in front_ends if stored not in kept))}.")
    for stored in kept:
        say(f"{stored.path.name} is in use by a run and stays.")
    sys.exit(1 if kept else 0)


def _facts(stored: StoredFrontEnd) -> dict[str, Any]:
    measured = {key: getattr(stored, key) for key in ("utterances", "bytes", "last_used")}
    measured = {"name": stored.path.name, **measured}
    return {**measured, **stored.description(), **measured}


def _print_info(info: Mapping[str, Any]) -> None:
    console = console_for_output()
    console.print(f"{info['folder']}: {megabytes(info['bytes'])} of {megabytes(limit_bytes())} ({LIMIT_VARIABLE})")
    if not info["front_ends"]:
        return
    columns = ("front end", "class", "utterances", "MB", "last used")
    table = plain_table(*columns, folded=("class",), right=("utterances", "MB"))
    for row in info["front_ends"]:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(row["last_used"]))
        size = f"{row['bytes'] / 1e6:.1f}"
        table.add_row(row["name"], str(row.get("class", "?")), str(row["utterances"]), size, used)
    console.print(table)
