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
from toolkit.data.cache.store import LIMIT_VARIABLE, features_folder, limit_bytes, megabytes, stored_front_ends
from toolkit.errors import ToolkitError, join
from toolkit.terminal import console_for_output, say


@click.group("cache", cls=Commands)
def cache():
    """Show or delete the features of front ends that are kept on disk for all runs."""


@cache.command("info")
@as_json
def info(as_json: bool):
    """Show the cache's folder, size and limit, and one row for each front end."""
    limit, front_ends = limit_bytes(), []
    for stored in reversed(stored_front_ends()):  # the last used first
        facts = {"utterances": stored.utterances, "bytes": stored.bytes, "last_used": stored.last_used}
        front_ends.append({**stored.description(), "name": stored.path.name, **facts})
    found = {
        "folder": str(features_folder()),
        "bytes": sum(facts["bytes"] for facts in front_ends),
        "limit_bytes": round(limit) if math.isfinite(limit) else None,
        "front_ends": front_ends,
    }
    show(found, _print_info, as_json=as_json)


@cache.command("clear")
@click.argument("names", nargs=-1, metavar="[FRONT_END]...")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def clear(names: tuple[str, ...], yes: bool):
    """Delete the features of every FRONT_END, given by its name or the beginning of it; all if none is given.

    Features that a run is using stay, and the exit code is 1.
    """
    folder, known = features_folder(), stored_front_ends()
    for name in names:
        if not name or not any(stored.path.name.startswith(name) for stored in known):
            raise ToolkitError(f"No front end in {folder} is called {name!r}: `toolkit cache info` lists them.")
    front_ends = [stored for stored in known if stored.path.name.startswith(names or "")]
    if not front_ends:
        click.echo(f"Nothing to delete in {folder}.")
        return
    if not yes:
        size = megabytes(sum(stored.bytes for stored in front_ends))
        click.confirm(f"Delete {size} of {join(stored.path.name for stored in front_ends)} in {folder}?", abort=True)
    kept = [stored for stored in front_ends if not stored.remove()]
    click.echo(f"Freed {megabytes(sum(stored.bytes for stored in front_ends if stored not in kept))}.")
    for stored in kept:
        say(f"{stored.path.name} is in use by a run and stays.")
    sys.exit(1 if kept else 0)


def _print_info(info: Mapping[str, Any]) -> None:
    console = console_for_output()
    console.print(f"{info['folder']}: {megabytes(info['bytes'])} of {megabytes(limit_bytes())} ({LIMIT_VARIABLE})")
    if not info["front_ends"]:
        return
    columns = ("front end", "class", "utterances", "size", "last used")
    table = plain_table(*columns, folded=("class",), right=("utterances", "size"))
    for row in info["front_ends"]:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(row["last_used"]))
        table.add_row(row["name"], str(row.get("class", "?")), str(row["utterances"]), megabytes(row["bytes"]), used)
    console.print(table)
