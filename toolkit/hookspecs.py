"""How a distribution declares its plugins: its entry point in group `toolkit` implements the hook `toolkit_register`.

docs/writing-a-plugin.md shows it. `toolkit.contracts` and `toolkit.corpus` say what a plugin's class must do.
"""

import re
from dataclasses import dataclass

import pluggy

GROUP = "toolkit"
CONTRACT_VERSION = 1  # raised when plugins that keep the contract may break, not when something is added
FORMS = {  # field -> pattern, and the pattern in words
    "kind": (r"\w+", "a word"),
    "name": (r"[a-z0-9][a-z0-9_-]*", "made of lower case letters, digits, '_' and '-'"),
    "target": (r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", "'package.module:Class'"),
    "summary": (r".*\S.*", "one line of text"),
    "contract": (r".*", "a range of versions, for example '>=1,<2'"),
}

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@dataclass(frozen=True)
class PluginSpec:
    """One plugin, declared without importing it. Raises: ValueError if a field does not have its form."""

    kind: str  # for example "extractor"
    name: str  # what recipes write after `plugin:`; lower case letters, digits, "_" and "-"
    target: str  # "package.module:Class", imported when the plugin is built
    summary: str  # one line for `toolkit list-plugins`
    contract: str = ""  # versions of the contract it was written for, such as ">=1,<2"; "": any

    def __post_init__(self):
        for field, (form, words) in FORMS.items():
            value = getattr(self, field)
            if not isinstance(value, str) or not re.fullmatch(form, value):
                raise ValueError(f"{field} {value!r} of plugin {self.name!r} is not {words}")


@hookspec
def toolkit_register() -> list[PluginSpec]:
    """Return the plugins that this distribution declares. Must import nothing heavy."""
