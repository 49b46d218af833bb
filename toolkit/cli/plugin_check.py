"""An installed plugin under the contract suite: what holds, and what does not with the input that shows it."""

import contextlib
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from inspect import getdoc
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from toolkit.contracts import LevelShape
from toolkit.corpus import Corpus
from toolkit.errors import PluginError, RecipeError, ToolkitError, join
from toolkit.plugins.kinds import KINDS
from toolkit.plugins.plugin import Plugin
from toolkit.recipe.locations import Keys
from toolkit.recipe.yaml_files import read_text
from toolkit.terminal import console_for_output
from toolkit.testing import PROPERTIES, Finding
from toolkit.testing import check_plugin as run_suite

# What the system would give a plugin, to find out whether it can be built before the suite builds it many times.
SYSTEM: Mapping[str, Mapping[str, Any]] = {
    "extractor": {"sample_rate": 16_000, "segment_samples": 16_000},
    "fusion": {"levels": {"a": LevelShape(channels=6, frames=12)}, "covariates": {}, "segment_samples": 16_000},
    "head": {"size": 4, "classes": 4},
    "loss": {"size": 4, "classes": 4, "class_counts": [10, 20, 30, 40]},
    "corpus": {},
}


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
        known = {"kind": spec.kind, "name": spec.name}
        known |= {"distribution": declaration.distribution, "version": declaration.version}
        asked = asked_for(spec.kind)
        properties = [{**asdict(finding), "asks": asked[finding.property]} for finding in self.findings]
        return {**known, "args": dict(self.args), "holds": not self.broken, "properties": properties}


def examine_plugin(plugin: Plugin, args: Mapping[str, Any], *, data_folder: str | None = None) -> PluginCheck:
    """Run the contract suite on a plugin.

    Args:
        plugin: as it was found.
        args: as a recipe's `args`.
        data_folder: what a corpus reads; else the folder that its environment variable names.

    Raises:
        RecipeError: if an argument does not fit. PluginError: if the plugin cannot be found, imported or built.
        CorpusError: if a corpus cannot read the folder.
    """
    kind = KINDS[plugin.spec.kind]
    if data_folder is not None and not kind.reads_folder:
        readers = join((known.name for known in KINDS.values() if known.reads_folder), word="or")
        raise PluginError(f"--data_folder is what a {readers} reads; {kind.name} {plugin.spec.name!r} reads none.")
    checked, options = plugin.check_args(args), {}
    with contextlib.redirect_stdout(sys.stderr):  # what a plugin prints is no part of the answer
        built = plugin.build(args, SYSTEM[kind.name])
        if kind.reads_folder:
            folder = data_folder or built.default_folder()
            options["folder"] = None if folder is None else Path(folder)
            _read_once(built, options["folder"])
        findings = run_suite(kind.name, plugin.load(), checked, **options)
    return PluginCheck(plugin, args, tuple(findings))


def _read_once(corpus: Corpus, folder: Path | None) -> None:
    """Let the corpus refuse the folder; what else may go wrong the suite finds."""
    try:
        corpus.read(folder)
    except ToolkitError:
        raise
    except Exception:
        return


def read_args(text: str | None) -> Mapping[str, Any]:
    """Arguments from a command line, YAML as in recipes; None is none.

    >>> read_args("{hidden: 8, method: yin}")
    {'hidden': 8, 'method': 'yin'}

    Raises:
        RecipeError: if that is no mapping.
    """
    try:
        args = Keys() if text is None else read_text(text)
    except RecipeError as error:
        raise RecipeError(f"--args {error}") from None
    if not isinstance(args, Keys):
        raise RecipeError(f"--args {text!r}: a mapping is needed, such as '{{hidden: 8}}'.")
    return args


def asked_for(kind: str) -> dict[str, str]:
    """Property of a kind -> what it asks for."""
    return {each.__name__: " ".join((getdoc(each) or "").split()) for each in PROPERTIES[kind]}


def print_check(check: PluginCheck) -> None:
    """One row a property with what it asks for; what was found stands below where it does not hold."""
    console, spec = console_for_output(), check.plugin.spec
    asked = asked_for(spec.kind)
    args = f" with {', '.join(f'{key}={value!r}' for key, value in check.args.items())}" if check.args else ""
    console.print(Text(f"{spec.kind} {spec.name} from {check.plugin.release}{args}", style="bold"))
    table = Table(box=box.SIMPLE, header_style="bold")
    table.add_column("holds", no_wrap=True)
    table.add_column("property", no_wrap=True)
    table.add_column("what it asks for", overflow="fold")
    for finding in check.findings:
        about = Text(asked[finding.property])
        if not finding.holds:
            about.append(f"\nfound: {finding.detail}", style="red")
        table.add_row("yes" if finding.holds else Text("NO", style="red"), finding.property, about)
    console.print(table)
    total = len(check.findings)
    console.print(f"{check.broken} of {total} properties do not hold." if check.broken else f"All {total} hold.")
