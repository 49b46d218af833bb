"""Commands on plugins: list, show, check, write a new one."""

import contextlib
import sys
import traceback
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolkit.cli.commands import DEBUG, Command
from toolkit.cli.options import as_json, one_plugin, show
from toolkit.cli.tables import print_check, print_plugin, print_plugins
from toolkit.errors import join
from toolkit.plugins import registry
from toolkit.plugins.kinds import KINDS
from toolkit.plugins.plugin import Plugin
from toolkit.recipe.checks import Keys, Location
from toolkit.terminal import say

if TYPE_CHECKING:
    from toolkit.testing import Finding


def _mapping(ctx: click.Context, option: click.Parameter, text: str | None) -> Mapping[str, Any]:
    from toolkit.recipe.yaml_files import read_value

    if not isinstance(values := read_value(text or "{}"), Keys):
        raise click.BadParameter(f"a mapping is needed, for example '{{hidden: 8}}', not {text!r}.")
    return values


@click.command("list-plugins", cls=Command)
@click.option("--kind", help=f"Only this kind: {join(KINDS, 'or')}.")
@as_json
@click.option("--refresh", is_flag=True, help="Probe other distributions again instead of using cached answers.")
def list_plugins(kind: str | None, as_json: bool, refresh: bool):
    """List the plugins of all installed distributions; broken ones with the reason."""
    found = registry.discover(refresh=refresh)
    infos = found.list_plugins(kind)
    show([asdict(info) for info in infos], print_plugins, as_json=as_json)
    if hidden := sum(info.kind is None and info not in infos for info in found.list_plugins()):
        say(f"{hidden} broken: `toolkit list-plugins` lists them; they may declare more.")


@click.command("show-plugin", cls=Command)
@one_plugin
def show_plugin(words: tuple[str, ...]):
    """Show a plugin's arguments with types, defaults and meaning, and the paper it comes from."""
    print_plugin(_find(words))


@click.command("check-plugin", cls=Command)
@one_plugin
@click.option(
    "--args", metavar="YAML", callback=_mapping, help="Its arguments, as in a recipe's args: '{n_mfcc: 13, hidden: 8}'."
)
@click.option(
    "--context", metavar="YAML", callback=_mapping, help="What the system gives it in this check: '{classes: 3}'."
)
@click.option(
    "--data_folder", "--data-folder", help="The folder that a corpus reads; by default from its environment variable."
)
@as_json
@click.pass_context
def check_plugin(ctx, words, args, context, data_folder, as_json):
    """Check an installed plugin against everything that its contract asks for.

    Small arguments keep it fast: a plugin is built dozens of times. Exit code 1 if a property does not hold;
    --traceback then shows where the plugin's first error was raised.
    """
    plugin = _find(words)
    findings = _try_out(plugin, args, context, data_folder)
    check = {
        "kind": plugin.spec.kind,
        "name": plugin.spec.name,
        "distribution": plugin.declaration.distribution,
        "version": plugin.declaration.version,
        "args": dict(args),
        "holds": all(finding.holds for finding in findings),
        "properties": [{k: v for k, v in vars(finding).items() if k != "error"} for finding in findings],
    }
    show(check, print_check, as_json=as_json)
    raised = next((finding.error for finding in findings if finding.error is not None), None)
    if raised is not None and ctx.meta[DEBUG]:
        traceback.print_exception(raised)
    sys.exit(0 if check["holds"] else 1)


@click.command("new-plugin", cls=Command, epilog=f"KIND is {join(KINDS, 'or')}.")
@click.argument("kind")
@click.argument("name")
@click.option("--output", metavar="DIR", help="The package's folder; by default NAME in the working directory.")
def new_plugin(kind: str, name: str, output: str | None):
    """Write a package with a plugin of KIND that works as it is.

    It holds a small class that fulfils the contract, its declaration, tests, a recipe and a README.
    """
    from toolkit.plugins.scaffold import write_package

    click.echo(write_package(registry.default_registry(), kind, name, folder=output))


def _find(words: tuple[str, ...]) -> Plugin:
    if len(words) > 2:
        raise click.UsageError("One plugin at a time: [KIND] NAME.")
    return registry.default_registry().find(words[0] if len(words) == 2 else None, words[-1])


def _try_out(plugin: Plugin, args: Mapping, context: Mapping, data_folder: str | None) -> "list[Finding]":
    from toolkit.recipe.reading import read_plain
    from toolkit.testing import case_class

    kind = KINDS[plugin.spec.kind]
    make = partial(plugin.load(), **plugin.check_args(args))
    case = read_plain(case_class(kind.name), {**context, "make": make}, Location("--context"))
    with contextlib.redirect_stdout(sys.stderr):  # what a plugin prints is not part of the answer
        built = plugin.build(args, case.context())
        if kind.reads_folder and (folder := data_folder or built.default_folder()):
            case = replace(case, folder=Path(folder))
        return case.examine()
