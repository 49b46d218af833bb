"""YAML files as values, without running anything.

Allowed are the harmless tags of HyperPyYAML: !ref, !copy, !include:file and !PLACEHOLDER. What runs code (!new:,
!apply:, !name:, !module:, !!python/...) is refused unless the file is trusted. Numbers are read as YAML 1.2 does: 1e-4
is a number, `no` and `on` are text.
"""

import math
import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from toolkit.errors import RecipeError
from toolkit.recipe.locations import Keys, Mark
from toolkit.recipe.references import CORE, DEEPEST, MOST_VALUES, Code, Placeholder, Reference, resolve

INCLUDE = "!include:"
CODE = ("!new:", "!apply:", "!applyref:", "!name:", "!module:", CORE + "python/")
TEXT = tuple(CORE + name for name in ("str", "timestamp", "value"))
OTHERS = tuple(CORE + name for name in ("int", "float", "bool", "null"))


def read_yaml(path: Path, *, trust: bool = False) -> Keys:
    """Read a file that holds a mapping.

    Args:
        path: the file.
        trust: whether tags that run code are kept (as Code) and not refused.

    Returns:
        Plain values, and Reference, Placeholder and Code where such tags stand. Included files are read in.

    Raises:
        RecipeError: if the file cannot be read, is not YAML, holds a tag or a key that is not allowed, or
            includes itself.
    """
    return _read_file(Path(path), trust, including=())


def read_text(text: str, *, source: str = "", folder: Path | None = None, trust: bool = False) -> Any:
    """Read one value, by the same rules; `source` "" is the command line, includes are relative to `folder`."""
    node = _compose(text, source)
    return None if node is None else _Reader(source, folder or Path(), trust, including=()).value(node, ())


def _read_file(path: Path, trust: bool, *, including: tuple[Path, ...]) -> Keys:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise RecipeError(f"{path} cannot be read: {reason}.") from None
    node = _compose(text, path.name)
    if node is None:
        raise RecipeError(f"{path.name} is empty: keys such as 'model:' are needed.")
    values = _Reader(path.name, path.parent, trust, including=(*including, path.resolve())).value(node, ())
    if not isinstance(values, Keys):
        raise RecipeError(f"{path.name}: a mapping is needed, with keys such as 'model:'.")
    return values


def _compose(text: str, source: str) -> Node | None:
    directive = re.search(r"^%YAML\s+(\S+)", text, re.MULTILINE)
    if directive and directive[1] != "1.2":
        raise RecipeError(f"{source or 'on the command line'}: YAML 1.2 is read here, not {directive[1]}.")
    try:
        return YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        found = error.problem_mark or error.context_mark
        mark = Mark(source, found.line + 1, found.column + 1) if source and found else Mark(source)
        hint = " (indent with spaces)" if "\\t" in str(error.problem) else ""
        raise RecipeError(f"{mark.exact}: {error.problem or error.context}{hint}.") from None
    except (YAMLError, RecursionError, ValueError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0]
        raise RecipeError(f"{source or 'on the command line'}: this is not YAML: {reason}.") from None


class _Reader:
    """Makes values of the nodes of one file."""

    def __init__(self, source: str, folder: Path, trust: bool, *, including: tuple[Path, ...]):
        self.source, self.folder, self.trust, self.including = source, folder, trust, including
        self.scalars = YAML(typ="safe", pure=True).constructor
        self.values = 0

    def value(self, node: Node, parents: tuple[int, ...]) -> Any:
        tag = node.tag
        self.values += 1
        if id(node) in parents:
            raise self._error(node, "an alias refers to what it stands in.")
        if len(parents) > DEEPEST:
            raise self._error(node, "it is nested too deeply.")
        if self.values > MOST_VALUES:
            raise self._error(node, f"a recipe of more than {MOST_VALUES} values is not read.")
        if tag.startswith(INCLUDE):
            return self._include(node, parents)
        if tag.startswith(CODE):
            self._refuse_code(node)
            empty = isinstance(node, ScalarNode) and not node.value
            return Code(tag, None if empty else self._content(node, parents), self._mark(node))
        kinds = {MappingNode: (CORE + "map",), SequenceNode: (CORE + "seq",)}
        if tag in kinds.get(type(node), (*TEXT, *OTHERS, "!ref", "!copy", "!PLACEHOLDER")):
            return self._content(node, parents)
        raise self._unknown_tag(node)

    def _content(self, node: Node, parents: tuple[int, ...]) -> Any:
        if isinstance(node, SequenceNode):
            return [self.value(child, (*parents, id(node))) for child in node.value]
        return self._mapping(node, parents) if isinstance(node, MappingNode) else self._scalar(node)

    def _mapping(self, node: MappingNode, parents: tuple[int, ...]) -> Keys:
        out = Keys()
        for key_node, value_node in node.value:
            key = key_node.value
            if key_node.tag.startswith(CODE):
                self._refuse_code(key_node)
            if key_node.tag == CORE + "merge":
                raise self._error(key_node, "merge keys are not known here; `extends` merges files.")
            if key_node.tag not in TEXT:
                shown = f'; write "{key}"' if isinstance(key, str) else ""
                raise self._error(key_node, f"a key must be text{shown}.")
            if key in out:
                raise self._error(key_node, f"the key {key!r} is here twice (first {out.marks[key]}).")
            out[key] = self.value(value_node, (*parents, id(node)))
            out.marks[key] = self._mark(key_node)
        return out

    def _scalar(self, node: ScalarNode) -> Any:
        if node.tag in ("!ref", "!copy"):
            return Reference(node.value, self._mark(node))
        if node.tag == "!PLACEHOLDER":
            return Placeholder(self._mark(node))
        if node.tag not in OTHERS:
            return node.value
        try:
            value = self.scalars.construct_object(node)
        except (ValueError, LookupError):
            raise self._error(node, f"{node.value!r} is not a value of {node.tag.replace(CORE, '!!')}.") from None
        if isinstance(value, float) and not math.isfinite(value):
            raise self._error(node, f"{node.value} is not finite; a recipe's numbers are.")
        return value

    def _include(self, node: Node, parents: tuple[int, ...]) -> Keys:
        path = self.folder / node.tag.removeprefix(INCLUDE)
        if path.resolve() in self.including:
            chain = " -> ".join(p.name for p in (*self.including, path.resolve()))
            raise self._error(node, f"a file includes itself: {chain}.")
        if not isinstance(node, MappingNode) and node.value:
            raise self._error(node, f"after {node.tag} only a mapping of changed keys may stand.")
        if not path.is_file():
            raise self._error(node, f"the included file {path} is not there.")
        tree = _read_file(path, self.trust, including=self.including)
        if isinstance(node, MappingNode):
            _update(tree, self._mapping(node, parents))
        return resolve(tree)

    def _refuse_code(self, node: Node) -> None:
        if not self.trust:
            name = node.tag.replace(CORE, "!!")
            problem = f"the tag {name} runs code, and a recipe only holds values."
            raise self._error(node, f"{problem} If you trust whoever wrote it, pass --trust-recipe.")

    def _unknown_tag(self, node: Node) -> RecipeError:
        name = node.tag.replace(CORE, "!!")
        hint = " Write !include:file.yaml." if name == "!include" else ""
        known = "!ref, !copy, !include:file.yaml, !PLACEHOLDER"
        return self._error(node, f"the tag {name} cannot stand here.{hint} Known: {known}.")

    def _mark(self, node: Node) -> Mark:
        if not self.source:
            return Mark("")
        return Mark(self.source, node.start_mark.line + 1, node.start_mark.column + 1)

    def _error(self, node: Node, problem: str) -> RecipeError:
        return RecipeError(f"{self._mark(node).exact}: {problem}")


def _update(tree: Keys, changes: Keys) -> None:
    """Change an included file's keys; mappings are merged."""
    for key, value in changes.items():
        if isinstance(tree.get(key), Keys) and isinstance(value, Keys):
            _update(tree[key], value)
        else:
            tree[key], tree.marks[key] = value, changes.marks[key]
