"""Reads YAML files as values, without running code.

HyperPyYAML's harmless tags are allowed: !ref, !copy, !include:file and !PLACEHOLDER. Tags that run code (!new:,
!apply:, !name:, !module:, !!python/...) are refused unless the file is trusted. Values are read as in YAML 1.2: 1e-4
is a number, `no` and `on` are text.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from toolkit.errors import RecipeError
from toolkit.files import read_text
from toolkit.recipe.locations import Keys, Mark
from toolkit.recipe.reading import Keypath, merge
from toolkit.recipe.references import CORE, MOST_VALUES, Tagged, resolve

LOOKED_UP = ("!ref", "!copy", "!PLACEHOLDER")
INCLUDE = "!include:"
DEEPEST = 50  # values in values
LONGEST_TEXT = 2**18  # characters of a file
CODE = ("!new:", "!apply:", "!applyref:", "!name:", "!module:", CORE + "python/")
TEXT = tuple(CORE + name for name in ("str", "timestamp", "value"))
OTHERS = tuple(CORE + name for name in ("int", "float", "bool", "null"))
PLAIN = (CORE + "map", CORE + "seq", *TEXT, *OTHERS)
NO_RECIPE: Keypath = ("",)  # no key of a recipe


def read_yaml(path: Path, *, at: Keypath = NO_RECIPE, trust: bool = False, budget: Iterator[int] | None = None) -> Keys:
    """Read a file that holds a mapping, and the files that it includes, as plain values and Tagged.

    Args: at: the key of a recipe that the file gives, () for a whole recipe; trust: whether tags that run code are kept
        instead of refused; budget: a number for each value that may be read.
    """
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise RecipeError(f"{path} cannot be read: {reason}.") from None
    if len(text) > LONGEST_TEXT:
        raise RecipeError(f"{path.name} has {len(text):,} characters; a recipe has at most {LONGEST_TEXT:,}.")
    values = _Reader(path.name, path.parent, trust, budget).read(text, at)
    if not isinstance(values, Keys):
        raise RecipeError(f"{path.name}: a mapping is needed, with keys such as 'model:'.")
    return values


def read_value(text: str, *, at: Keypath = NO_RECIPE, folder: Path | None = None, trust: bool = False) -> Any:
    """Read one value from the command line, by the same rules; included files are relative to `folder`."""
    return _Reader("", folder or Path(), trust).read(text, at)


class _Reader:
    """Turns the text of one file, or of the command line (source ""), into values."""

    def __init__(self, source: str, folder: Path, trust: bool, budget: Iterator[int] | None = None):
        self.source, self.folder, self.trust = source, folder, trust
        self.budget = budget or iter(range(MOST_VALUES))
        self.yaml = YAML(typ="safe", pure=True)

    def read(self, text: str, at: Keypath) -> Any:
        try:
            node = self.yaml.compose(text)
        except (YAMLError, RecursionError) as error:
            place = getattr(error, "problem_mark", None)
            mark = Mark(self.source, place.line + 1 if place else 0)
            problem = getattr(error, "problem", None) or f"this is not YAML: {str(error).splitlines()[0]}"
            hint = " (indent with spaces)" if "\\t" in problem else ""
            raise RecipeError(f"{mark}: {problem}{hint}.") from None
        return None if node is None else self.value(node, at)

    def value(self, node: Node, at: Keypath) -> Any:
        tag = node.tag
        if next(self.budget, None) is None or len(at) > DEEPEST:
            limits = f"more than {MOST_VALUES} values, or values that are nested more than {DEEPEST} deep"
            raise self._error(node, f"this has {limits}; an alias or a file may hold itself.")
        if tag.startswith(INCLUDE):
            return self._include(node, at)
        if tag.startswith(CODE):
            if not self.trust:
                problem = f"the tag {tag.replace(CORE, '!!')} runs code, and a recipe only holds values."
                raise self._error(node, f"{problem} If you trust whoever wrote it, pass --trust-recipe.")
            return Tagged(tag, None if node.value == "" else self._content(node, at), self._mark(node))
        if isinstance(node, ScalarNode) and tag in LOOKED_UP:
            return Tagged(tag.replace("copy", "ref"), node.value, self._mark(node))
        if tag not in PLAIN:
            known = "!ref, !copy, !include:file.yaml, !PLACEHOLDER"
            raise self._error(node, f"the tag {tag.replace(CORE, '!!')} cannot be used here. Known: {known}.")
        return self._content(node, at)

    def _content(self, node: Node, at: Keypath) -> Any:
        if isinstance(node, SequenceNode):
            return [self.value(child, (*at, "")) for child in node.value]
        return self._mapping(node, at) if isinstance(node, MappingNode) else self._scalar(node)

    def _mapping(self, node: MappingNode, at: Keypath) -> Keys:
        out = Keys()
        for key_node, value_node in node.value:
            key = key_node.value
            if not isinstance(key_node, ScalarNode) or key_node.tag not in TEXT:
                hint = "`extends` merges files, and << does nothing" if key == "<<" else f'write "{key}"'
                raise self._error(key_node, f"a key must be text; {hint}.")
            if key in out:
                raise self._error(key_node, f"the key {key!r} occurs twice (first {out.marks[key]}).")
            out[key] = self.value(value_node, (*at, key))
            out.marks[key] = self._mark(key_node)
        return out

    def _scalar(self, node: ScalarNode) -> Any:
        if node.tag not in OTHERS:
            return node.value
        try:
            value = self.yaml.constructor.construct_object(node)
        except (ValueError, LookupError):
            raise self._error(node, f"{node.value!r} is not a value of {node.tag.replace(CORE, '!!')}.") from None
        if isinstance(value, float) and not math.isfinite(value):
            raise self._error(node, f"{node.value} is not finite; a recipe's numbers must be.")
        return value

    def _include(self, node: Node, at: Keypath) -> Keys:
        if not isinstance(node, MappingNode) and node.value:
            raise self._error(node, f"only a mapping of changed keys can follow {node.tag}.")
        at = at[at[:1] == ("without_data",) :]
        tree = read_yaml(self.folder / node.tag.removeprefix(INCLUDE), at=at, trust=self.trust, budget=self.budget)
        changes = self._mapping(node, at) if isinstance(node, MappingNode) else Keys()
        return resolve(merge(tree, changes, at), keep_placeholders=True)

    def _mark(self, node: Node) -> Mark:
        return Mark(self.source, node.start_mark.line + 1)

    def _error(self, node: Node, problem: str) -> RecipeError:
        return RecipeError(f"{self._mark(node)}: {problem}")
