"""Reads YAML files as values, without running code.

HyperPyYAML's harmless tags are allowed: !ref, !copy, !include:file and !PLACEHOLDER. Tags that run code (!new:,
!apply:, !name:, !module:, !!python/...) are refused unless the file is trusted. Values are read as in YAML 1.2: 1e-4
is a number, `no` and `on` are text.
"""

import math
import re
from os.path import isfile
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from toolkit.errors import RecipeError, one_line
from toolkit.files import LONGEST, read_text, resolved
from toolkit.recipe.locations import COMMAND_LINE, Keys, Mark
from toolkit.recipe.reading import merge
from toolkit.recipe.references import CORE, DEEPEST, MOST_VALUES, Tagged, resolve

LOOKED_UP = ("!ref", "!copy", "!PLACEHOLDER")
INCLUDE = "!include:"
MOST_FILES = 100  # that a recipe includes
LONGEST_TEXT = 2**18  # characters of a file
CODE = ("!new:", "!apply:", "!applyref:", "!name:", "!module:", CORE + "python/")
TEXT = tuple(CORE + name for name in ("str", "timestamp", "value"))
OTHERS = tuple(CORE + name for name in ("int", "float", "bool", "null"))
Keypath = tuple[str, ...]
NO_RECIPE: Keypath = ("",)  # no key of a recipe


def read_yaml(
    path: Path,
    *,
    at: Keypath = NO_RECIPE,
    trust: bool = False,
    including: tuple[Path, ...] = (),
    included: list[Path] | None = None,
) -> Keys:
    """Read a file that holds a mapping, and the files that it includes, as plain values and Tagged.

    Args: at: the key of a recipe that the file gives, () for a whole recipe; trust: whether tags that run code are kept
        instead of refused; including: the files that include this one; included: all files included before, repeats
        too.
    Raises: RecipeError if the file cannot be read, is not YAML, or holds a tag or a key that is not allowed.
    """
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise RecipeError(f"{path} cannot be read: {reason}.") from None
    if len(text) > LONGEST_TEXT:
        raise RecipeError(f"{path.name} has {len(text):,} characters; a recipe has at most {LONGEST_TEXT:,}.")
    if (node := _compose(text, path.name)) is None:
        raise RecipeError(f"{path.name} is empty: keys such as 'model:' are needed.")
    included = [] if included is None else included
    reader = _Reader(path.name, path.parent, trust, including=(*including, resolved(path)), included=included)
    values = reader.value(node, at)
    if not isinstance(values, Keys):
        raise RecipeError(f"{path.name}: a mapping is needed, with keys such as 'model:'.")
    return values


def read_value(text: str, *, at: Keypath = NO_RECIPE, folder: Path | None = None, trust: bool = False) -> Any:
    """Read one value from the command line, by the same rules; included files are relative to `folder`."""
    node = _compose(text, "")
    return None if node is None else _Reader("", folder or Path(), trust, including=(), included=[]).value(node, at)


def _compose(text: str, source: str) -> Node | None:
    directive = re.search(r"^%YAML\s+(\S+)", text, re.MULTILINE)
    if directive and directive[1] != "1.2":
        raise RecipeError(f"{Mark(source).exact}: YAML 1.2 is read here, not {directive[1]}.")
    try:
        return YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        place = error.problem_mark or error.context_mark
        mark = Mark(source, place.line + 1, place.column + 1) if source and place else Mark(source)
        hint = " (indent with spaces)" if "\\t" in str(error.problem) else ""
        raise RecipeError(f"{mark.exact}: {error.problem or error.context}{hint}.") from None
    except (YAMLError, RecursionError, ValueError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0]
        raise RecipeError(f"{Mark(source).exact}: this is not YAML: {reason}.") from None


def _joined(text: Any) -> Any:
    """Text with its surrogate pairs, as JSON writes characters beyond U+FFFF, as characters; a lone half stays."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass") if isinstance(text, str) else text


class _Reader:
    """Turns the nodes of one file into values."""

    def __init__(self, source: str, folder: Path, trust: bool, *, including: tuple[Path, ...], included: list[Path]):
        self.source, self.folder, self.trust = source, folder, trust
        self.including, self.included = including, included
        self.scalars = YAML(typ="safe", pure=True).constructor
        self.values = 0

    def value(self, node: Node, at: Keypath) -> Any:
        tag = node.tag
        self.values += 1
        if len(at) > DEEPEST:
            raise self._error(node, "it is nested too deeply, or an alias refers to a value that it is part of.")
        if self.values > MOST_VALUES:
            raise self._error(node, f"a recipe with more than {MOST_VALUES} values is not read.")
        if tag.startswith(INCLUDE):
            return self._include(node, at)
        if tag.startswith(CODE):
            self._refuse_code(node)
            empty = isinstance(node, ScalarNode) and not node.value
            return Tagged(tag, None if empty else self._content(node, at), self._mark(node))
        if isinstance(node, ScalarNode) and tag in LOOKED_UP:
            return Tagged(tag.replace("copy", "ref"), node.value, self._mark(node))
        if tag in {MappingNode: (CORE + "map",), SequenceNode: (CORE + "seq",)}.get(type(node), (*TEXT, *OTHERS)):
            return self._content(node, at)
        name = tag.replace(CORE, "!!")
        hint = " Write !include:file.yaml." if name == "!include" else ""
        known = "!ref, !copy, !include:file.yaml, !PLACEHOLDER"
        raise self._error(node, f"the tag {name} cannot be used here.{hint} Known: {known}.")

    def _content(self, node: Node, at: Keypath) -> Any:
        if isinstance(node, SequenceNode):
            return [self.value(child, (*at, "")) for child in node.value]
        return self._mapping(node, at) if isinstance(node, MappingNode) else self._scalar(node)

    def _mapping(self, node: MappingNode, at: Keypath) -> Keys:
        out = Keys()
        for key_node, value_node in node.value:
            key = _joined(key_node.value)
            if key_node.tag.startswith(CODE):
                self._refuse_code(key_node)
            if not isinstance(key_node, ScalarNode) or key_node.tag not in TEXT:
                hint = " Merge keys are not supported; `extends` merges files." if key == "<<" else ""
                shown = f'; write "{key}"' if isinstance(key, str) and not hint else ""
                raise self._error(key_node, f"a key must be text{shown}.{hint}")
            if key in out:
                raise self._error(key_node, f"the key {key!r} occurs twice (first {out.marks[key]}).")
            out[key] = self.value(value_node, (*at, key))
            out.marks[key] = self._mark(key_node)
        return out

    def _scalar(self, node: ScalarNode) -> Any:
        if node.tag not in OTHERS:
            return _joined(node.value)
        try:
            value = self.scalars.construct_object(node)
        except (ValueError, LookupError):
            shown, kind = one_line(node.value)[:40], node.tag.replace(CORE, "!!")
            raise self._error(node, f"{shown!r} is not a value of {kind}.") from None
        if isinstance(value, float) and not math.isfinite(value):
            raise self._error(node, f"{one_line(node.value)[:40]} is not finite; a recipe's numbers must be.")
        if isinstance(value, int) and abs(value) >= 10**LONGEST:
            raise self._error(node, f"{one_line(node.value)[:20]}... is too large: at most {LONGEST} digits are read.")
        return value

    def _include(self, node: Node, at: Keypath) -> Keys:
        path = self.folder / node.tag.removeprefix(INCLUDE)
        if not isinstance(node, MappingNode) and node.value:
            raise self._error(node, f"only a mapping of changed keys can follow {node.tag}.")
        if not isfile(path):
            raise self._error(node, f"the included file {one_line(path)} does not exist.")
        if resolved(path) in self.including:
            chain = " -> ".join(p.name for p in (*self.including, resolved(path)))
            raise self._error(node, f"a file includes itself: {chain}.")
        self.included.append(path)
        if len(self.included) > MOST_FILES:
            raise self._error(node, f"a recipe that includes more than {MOST_FILES} files is not read.")
        at = at[at[:1] == ("without_data",) :]
        tree = read_yaml(path, at=at, trust=self.trust, including=self.including, included=self.included)
        changes = self._mapping(node, at) if isinstance(node, MappingNode) else Keys()
        return resolve(merge(tree, changes, at), keep_placeholders=True)

    def _refuse_code(self, node: Node) -> None:
        if not self.trust:
            problem = f"the tag {node.tag.replace(CORE, '!!')} runs code, and a recipe only holds values."
            raise self._error(node, f"{problem} If you trust whoever wrote it, pass --trust-recipe.")

    def _mark(self, node: Node) -> Mark:
        start = node.start_mark
        return Mark(self.source, start.line + 1, start.column + 1) if self.source else COMMAND_LINE

    def _error(self, node: Node, problem: str) -> RecipeError:
        return RecipeError(f"{self._mark(node).exact}: {problem}")
