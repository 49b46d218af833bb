"""The commands on plugins: list, show, check, write a new one. Each imports what it needs inside itself."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from toolkit.cli.commands import Command
from toolkit.cli.options import as_json, one_plugin, say, show
from toolkit.errors import join
from toolkit.plugins.kinds import KINDS

if TYPE_CHECKING:
    from toolkit.plugins.plugin import Plugin


@click.command("list-plugins", cls=Command)
@click.option("--kind", help=f"Only this kind: {join(KINDS, 'or')}.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@click.option("--refresh", is_flag=True, help="Read other distributions again instead of using kept answers.")
def list_plugins(kind: str | None, as_json: bool, refresh: bool):
    """List the plugins of all installed distributions; broken ones with the reason."""
    from toolkit.cli.tables import print_plugins
    from toolkit.plugins.registry import discover

    registry = discover(refresh=refresh)
    infos = registry.list_plugins(kind)
    if as_json:
        click.echo(json.dumps([asdict(info) for info in infos], indent=2))
    else:
        print_plugins(infos)
    hidden = [info for info in registry.list_plugins() if info.kind is None and info not in infos]
    if hidden:
        say(f"{len(hidden)} broken: `toolkit list-plugins` lists them; they may declare more.")


@click.command("show-plugin", cls=Command)
@one_plugin
def show_plugin(words: tuple[str, ...]):
    """Show a plugin's arguments with types, defaults and meaning, and the paper it comes from."""
    from toolkit.cli.tables import print_plugin

    print_plugin(_find(words))


@click.command("check-plugin", cls=Command)
@one_plugin
@click.option("--args", metavar="YAML", help="Its arguments, as a recipe's args: '{n_mfcc: 13, hidden: 8}'.")
@click.option("--data_folder", help="What a corpus reads; by default the folder of its environment variable.")
@as_json
def check_plugin(words: tuple[str, ...], args: str | None, data_folder: str | None, as_json: bool):
    """Check an installed plugin against everything that its contract asks for.

    Small arguments keep it fast: a plugin is built dozens of times. Exit code 1 if a property does not hold.
    """
    plugin = _find(words)  # before torch is imported

    from toolkit.cli.plugin_check import read_args, try_out
    from toolkit.cli.tables import print_check

    check = try_out(plugin, read_args(args), data_folder=data_folder)
    show(check, print_check, as_json=as_json)
    sys.exit(0 if check["holds"] else 1)


@click.command("new-plugin", cls=Command, epilog=f"KIND is {join(KINDS, 'or')}.")
@click.argument("kind")
@click.argument("name")
@click.option("--output", metavar="DIR", help="The package's folder; by default NAME in the working directory.")
def new_plugin(kind: str, name: str, output: str | None):
    """Write a package with a plugin of KIND that works as it is.

    It holds a small class that keeps the contract, its declaration, tests, a recipe and a README.
    """
    from toolkit.plugins.registry import default_registry
    from toolkit.plugins.scaffold import write_package

    click.echo(write_package(default_registry(), kind, name, folder=output))


def _find(words: tuple[str, ...]) -> "Plugin":
    """The plugin that [KIND] NAME means; the kind may be omitted if only one has that name."""
    from toolkit.plugins.registry import default_registry

    if len(words) > 2:
        raise click.UsageError("One plugin at a time: [KIND] NAME.")
    registry = default_registry()
    kind = words[0] if len(words) == 2 else registry.kind_of(words[0])
    return registry.find(kind, words[-1])
