"""An installed plugin under the contract suite: what holds, and what does not with the input that shows it."""

import contextlib
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from toolkit.errors import PluginError, RecipeError, ToolkitError, join
from toolkit.plugins.kinds import KINDS
from toolkit.plugins.plugin import Plugin
from toolkit.recipe.locations import Keys
from toolkit.recipe.yaml_files import read_text
from toolkit.terminal import console_for_output
from toolkit.testing import Finding, case_class, check_plugin


@dataclass(frozen=True)
class PluginCheck:
    """What the contract suite found.

    Args:
        plugin: what was tried.
        args: what its constructor was given.
        findings: one for each property of its kind.
    """

    plugin: Plugin
    args: Mapping[str, Any]
    findings: tuple[Finding, ...]

    @property
    def broken(self) -> int:
        """How many properties do not hold."""
        return sum(not finding.holds for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        spec, declaration = self.plugin.spec, self.plugin.declaration
        return {
            "kind": spec.kind,
            "name": spec.name,
            "distribution": declaration.distribution,
            "version": declaration.version,
            "args": dict(self.args),
            "holds": not self.broken,
            "properties": [asdict(finding) for finding in self.findings],
        }


def try_out(plugin: Plugin, args: Mapping[str, Any], *, data_folder: str | None = None) -> PluginCheck:
    """Run the contract suite on a plugin.

    Args:
        plugin: as it was found.
        args: as a recipe's `args`.
        data_folder: what a corpus reads; else the folder that its environment variable names.

    Raises:
        RecipeError: if an argument does not fit. PluginError: if the plugin cannot be imported or built.
        CorpusError: if a corpus cannot read the folder.
    """
    kind = KINDS[plugin.spec.kind]
    if data_folder is not None and not kind.reads_folder:
        readers = join((known.name for known in KINDS.values() if known.reads_folder), word="or")
        raise PluginError(f"--data_folder is what a {readers} reads; {kind.name} {plugin.spec.name!r} reads none.")
    checked, options = plugin.check_args(args), {}
    with contextlib.redirect_stdout(sys.stderr):  # what a plugin prints is not part of the answer
        built = plugin.build(args, case_class(kind.name)(plugin.load()).context())
        if kind.reads_folder:
            folder = data_folder or built.default_folder()
            options["folder"] = None if folder is None else Path(folder)
            try:  # the plugin may refuse the folder; what else may go wrong, the suite finds
                built.read(options["folder"])
            except ToolkitError:
                raise
            except Exception:
                pass
        findings = check_plugin(kind.name, plugin.load(), checked, **options)
    return PluginCheck(plugin, args, tuple(findings))


def read_args(text: str | None) -> Mapping[str, Any]:
    """Arguments from a command line, YAML as in recipes; None is none.

    >>> read_args("{hidden: 8, method: yin}")
    {'hidden': 8, 'method': 'yin'}

    Raises:
        RecipeError: if that is not a mapping.
    """
    try:
        args = Keys() if text is None else read_text(text)
    except RecipeError as error:
        raise RecipeError(f"--args {error}") from None
    if not isinstance(args, Keys):
        raise RecipeError(f"--args {text!r}: a mapping is needed, for example '{{hidden: 8}}'.")
    return args


def print_check(check: PluginCheck) -> None:
    """One row a property with what it asks for; what was found stands below where it does not hold."""
    console, spec, total = console_for_output(), check.plugin.spec, len(check.findings)
    args = f" with {', '.join(f'{key}={value!r}' for key, value in check.args.items())}" if check.args else ""
    console.print(Text(f"{spec.kind} {spec.name} from {check.plugin.release}{args}", style="bold"))
    table = Table(box=box.SIMPLE, header_style="bold")
    table.add_column("holds", no_wrap=True)
    table.add_column("property", no_wrap=True)
    table.add_column("what it asks for", overflow="fold")
    for finding in check.findings:
        about = Text(finding.asks)
        if not finding.holds:
            about.append(f"\nfound: {finding.detail}", style="red")
        table.add_row("yes" if finding.holds else Text("NO", style="red"), finding.property, about)
    console.print(table)
    console.print(f"{check.broken} of {total} properties do not hold." if check.broken else f"All {total} hold.")
