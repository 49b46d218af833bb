"""Check an installed plugin with the contract suite; what does not hold is shown with its input."""

import contextlib
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from toolkit.errors import PluginError, RecipeError, ToolkitError, join
from toolkit.plugins.kinds import KINDS
from toolkit.plugins.plugin import Plugin
from toolkit.recipe.locations import Keys
from toolkit.recipe.yaml_files import read_text
from toolkit.testing import case_class, check_plugin


def try_out(plugin: Plugin, args: Mapping[str, Any], *, data_folder: str | None = None) -> dict[str, Any]:
    """Run the contract suite on a plugin.

    Args:
        plugin: as it was found.
        args: as a recipe's `args`.
        data_folder: what a corpus reads; else the folder that its environment variable names.

    Returns:
        JSON-able: the plugin, its arguments, whether all holds, and `properties`, a finding each.

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
    return {
        "kind": kind.name,
        "name": plugin.spec.name,
        "distribution": plugin.declaration.distribution,
        "version": plugin.declaration.version,
        "args": dict(args),
        "holds": all(finding.holds for finding in findings),
        "properties": [asdict(finding) for finding in findings],
    }


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
