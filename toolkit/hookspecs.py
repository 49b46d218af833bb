"""What a distribution declares: the one hook, `toolkit_register`, and the PluginSpec it returns.

A distribution names a light module in entry-point group `toolkit`; the module implements the hook:

    from toolkit import PluginSpec, hookimpl

    @hookimpl
    def toolkit_register():
        return [PluginSpec(kind="extractor", name="pitch", target="my_package.pitch:Pitch", summary="F0 contour")]
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import pluggy

GROUP = "toolkit"
KINDS = ("extractor", "fusion", "head", "loss", "corpus")

# Constructor arguments that the core gives, by kind; a recipe cannot set them.
CONTEXT: Mapping[str, tuple[str, ...]] = {
    "extractor": ("sample_rate", "segment_samples"),
    "fusion": ("levels", "covariates", "segment_samples"),
    "head": ("size", "classes"),
    "loss": ("size", "classes", "class_counts"),
    "corpus": (),
}

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@dataclass(frozen=True)
class PluginSpec:
    """One plugin, declared without importing it.

    Args:
        kind: one of extractor, fusion, head, loss, corpus.
        name: what recipes write after `plugin:`; lower case letters, digits, "_" and "-".
        target: "package.module:Class", imported when the plugin is built.
        summary: one line for `toolkit list-plugins`.

    Raises:
        ValueError: if a field does not have this form.
    """

    kind: str
    name: str
    target: str
    summary: str

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"kind {self.kind!r} of plugin {self.name!r} is none of {', '.join(KINDS)}")
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", str(self.name)):
            raise ValueError(f"plugin name {self.name!r} may hold lower case letters, digits, '_' and '-' only")
        if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", str(self.target)):
            raise ValueError(f"target {self.target!r} of plugin {self.name!r} is not 'package.module:Class'")
        if not str(self.summary).strip() or "\n" in self.summary:
            raise ValueError(f"summary of plugin {self.name!r} must be one line that is not empty")

    @property
    def module(self) -> str:
        """The module that holds the class."""
        return self.target.split(":")[0]

    @property
    def attribute(self) -> str:
        """The class's name inside its module."""
        return self.target.split(":")[1]


@hookspec
def toolkit_register() -> list[PluginSpec]:
    """Return the plugins that this distribution declares. Must import nothing heavy."""
