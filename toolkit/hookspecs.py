"""What a distribution declares: the one hook, `toolkit_register`, and the PluginSpec it returns.

A distribution names a light module in entry-point group `toolkit`; the module implements the hook:

    from toolkit import PluginSpec, hookimpl

    @hookimpl
    def toolkit_register():
        return [PluginSpec(kind="extractor", name="pitch", target="my_package.pitch:Pitch", summary="F0 contour")]

What a plugin's class has to do, `toolkit.contracts` and `toolkit.corpus`, is the contract. It has a version, and a
plugin may say for which ones it was written: `PluginSpec(..., contract=">=1,<2")`.
"""

import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass

import pluggy

GROUP = "toolkit"
PLUGIN_NAME = r"[a-z0-9][a-z0-9_-]*"
KINDS = ("extractor", "fusion", "head", "loss", "corpus")
CONTRACT_VERSION = 1  # raised when a plugin that kept the contract may break, not when something is added

# What a plugin's class derives from, by kind.
BASES: Mapping[str, str] = {
    "extractor": "toolkit.contracts:Extractor",
    "fusion": "toolkit.contracts:Fusion",
    "head": "toolkit.contracts:Head",
    "loss": "toolkit.contracts:Loss",
    "corpus": "toolkit.corpus:Corpus",
}

# Constructor arguments that the core gives, by kind; a recipe cannot set them.
CONTEXT: Mapping[str, tuple[str, ...]] = {
    "extractor": ("sample_rate", "segment_samples"),
    "fusion": ("levels", "covariates", "segment_samples"),
    "head": ("size", "classes"),
    "loss": ("size", "classes", "class_counts"),
    "corpus": (),
}

_COMPARISONS = {">=": operator.ge, "<=": operator.le, "==": operator.eq, ">": operator.gt, "<": operator.lt}

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
        contract: the versions of the contract that it was written for, as ">=1,<2"; "" is any.

    Raises:
        ValueError: if a field does not have this form.
    """

    kind: str
    name: str
    target: str
    summary: str
    contract: str = ""

    def __post_init__(self):
        for field, value in vars(self).items():
            if not isinstance(value, str):
                raise ValueError(f"{field} {value!r} of plugin {self.name!r} is no text")
        if self.kind not in KINDS:
            raise ValueError(f"kind {self.kind!r} of plugin {self.name!r} is none of {', '.join(KINDS)}")
        if not re.fullmatch(PLUGIN_NAME, self.name):
            raise ValueError(f"plugin name {self.name!r} may hold lower case letters, digits, '_' and '-' only")
        if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", self.target):
            raise ValueError(f"target {self.target!r} of plugin {self.name!r} is not 'package.module:Class'")
        if not self.summary.strip() or "\n" in self.summary:
            raise ValueError(f"summary of plugin {self.name!r} must be one line that is not empty")
        try:
            self.allows(CONTRACT_VERSION)
        except ValueError as error:
            raise ValueError(f"contract of plugin {self.name!r}: {error}") from None

    def allows(self, version: int) -> bool:
        """Whether the plugin was written for this version of the contract.

        >>> pitch = PluginSpec("extractor", "pitch", "my_package.pitch:Pitch", "F0 contour", contract=">=1,<3")
        >>> [version for version in range(5) if pitch.allows(version)]
        [1, 2]
        """
        return all(_COMPARISONS[sign](version, bound) for sign, bound in _bounds(self.contract))

    @property
    def module(self) -> str:
        """The module that holds the class."""
        return self.target.split(":")[0]

    @property
    def attribute(self) -> str:
        """The class's name inside its module."""
        return self.target.split(":")[1]


def _bounds(contract: str) -> list[tuple[str, int]]:
    """Read ">=1,<2" as [(">=", 1), ("<", 2)]."""
    bounds = []
    for part in contract.split(",") if contract else ():
        match = re.fullmatch(r"\s*(>=|<=|==|>|<)\s*(\d+)\s*", part)
        if match is None:
            raise ValueError(f"{contract!r} is no range of whole numbers, such as '>=1,<2'")
        bounds.append((match[1], int(match[2])))
    return bounds


@hookspec
def toolkit_register() -> list[PluginSpec]:
    """Return the plugins that this distribution declares. Must import nothing heavy."""
