"""YAML files as values, without running anything.

A file is parsed into nodes, the tags of all nodes are checked, and only then is a value made of it. Allowed are the
harmless tags of HyperPyYAML: !ref, !copy, !include:file and !PLACEHOLDER. What runs code (!new:, !apply:, !name:,
!module:, !!python/...) is refused unless the file is trusted. Numbers are read as YAML 1.2 does: 1e-4 is a number, `no`
and `on` are text.
"""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from toolkit.errors import RecipeError
from toolkit.recipe.locations import Keys, Mark

CORE = "tag:yaml.org,2002:"
REFERENCES = ("!ref", "!copy")
PLACEHOLDER = "!PLACEHOLDER"
INCLUDE = "!include:"
CODE = ("!new:", "!apply:", "!applyref:", "!name:", "!module:", CORE + "python/")
TEXT = tuple(CORE + name for name in ("str", "timestamp", "value"))
NUMBERS = {CORE + "int": int, CORE + "float": float}
MOST_NODES = 100_000  # aliases can make a small file enormous
DEEPEST = 50


@dataclass(eq=False)
class Document:
    """The tree that references of an included file look into; None is the whole recipe."""

    tree: Any = field(default=None, repr=False)


@dataclass(frozen=True)
class Reference:
    """`!ref <a[b]> / 2`, not yet looked up."""

    text: str
    mark: Mark
    document: Document | None


@dataclass(frozen=True)
class Placeholder:
    """`!PLACEHOLDER`: to be filled by an extending recipe or an override."""

    mark: Mark


@dataclass(frozen=True)
class Code:
    """A tag that runs code, in a trusted file: not run yet."""

    tag: str
    argument: Any
    mark: Mark


def read_yaml(path: Path, *, trust: bool = False) -> Keys:
    """Read a file that holds a mapping.

    Args:
        path: the file.
        trust: whether tags that run code are kept (as Code) and not refused.

    Returns:
        Plain values, and Reference, Placeholder and Code where such tags stand. Included files are read in.

    Raises:
        RecipeError: if the file cannot be read, is no YAML, holds a tag or a key that is not allowed, or
            includes itself.
    """
    return _read_file(Path(path), trust, document=None, including=())


def read_text(text: str, *, source: str = "", folder: Path | None = None, trust: bool = False) -> Any:
    """Read one value, by the same rules; `source` "" is the command line, includes are relative to `folder`."""
    node = _compose(text, source)
    reader = _Reader(source, folder or Path(), trust, document=None, including=())
    return None if node is None else reader.read(node)


def _read_file(path: Path, trust: bool, *, document: Document | None, including: tuple[Path, ...]) -> Keys:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise RecipeError(f"{path} cannot be read: {reason}.") from None
    node = _compose(text, path.name)
    if node is None:
        raise RecipeError(f"{path.name} is empty: keys such as 'model:' are needed.")
    reader = _Reader(path.name, path.parent, trust, document=document, including=(*including, path.resolve()))
    values = reader.read(node)
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
        raise RecipeError(f"{source or 'on the command line'}: this is no YAML: {reason}.") from None


class _Reader:
    def __init__(
        self, source: str, folder: Path, trust: bool, *, document: Document | None, including: tuple[Path, ...]
    ):
        self.source, self.folder, self.trust = source, folder, trust
        self.document, self.including = document, including
        self.nodes = 0

    def read(self, node: Node) -> Any:
        self._check_tags(node, set())
        return self._value(node, ())

    def _mark(self, node: Node) -> Mark:
        if not self.source:
            return Mark("")
        return Mark(self.source, node.start_mark.line + 1, node.start_mark.column + 1)

    def _check_tags(self, node: Node, seen: set[int]) -> None:
        if id(node) in seen:
            return
        seen.add(id(node))
        tag, name = node.tag, node.tag.replace(CORE, "!!")
        if tag.startswith(CODE):
            if not self.trust:
                raise RecipeError(
                    f"{self._mark(node).exact}: the tag {name} runs code, and a recipe only holds values. "
                    "If you trust whoever wrote it, pass --trust-recipe."
                )
        elif not self._allowed(node):
            hint = " Write !include:file.yaml." if tag == "!include" else ""
            hint = " Merge keys are not known here; `extends` merges files." if name == "!!merge" else hint
            raise RecipeError(
                f"{self._mark(node).exact}: the tag {name} cannot stand here.{hint} "
                "Known: !ref, !copy, !include:file.yaml, !PLACEHOLDER."
            )
        for child in node.value if not isinstance(node, ScalarNode) else ():
            for part in child if isinstance(child, tuple) else (child,):
                self._check_tags(part, seen)

    def _allowed(self, node: Node) -> bool:
        if isinstance(node, MappingNode):
            return node.tag == CORE + "map" or node.tag.startswith(INCLUDE)
        if isinstance(node, SequenceNode):
            return node.tag == CORE + "seq"
        known = (*TEXT, *NUMBERS, CORE + "bool", CORE + "null", *REFERENCES, PLACEHOLDER)
        return node.tag in known or node.tag.startswith(INCLUDE)

    def _value(self, node: Node, parents: tuple[int, ...]) -> Any:
        self.nodes += 1
        if id(node) in parents:
            raise RecipeError(f"{self._mark(node).exact}: an alias refers to what it stands in.")
        if len(parents) > DEEPEST:
            raise RecipeError(f"{self._mark(node).exact}: it is nested too deeply.")
        if self.nodes > MOST_NODES:
            raise RecipeError(f"{self._mark(node).exact}: a recipe of more than {MOST_NODES} values is not read.")
        if node.tag.startswith(INCLUDE):
            return self._include(node, parents)
        if node.tag.startswith(CODE):
            return Code(node.tag, self._content(node, parents), self._mark(node))
        return self._content(node, parents)

    def _content(self, node: Node, parents: tuple[int, ...]) -> Any:
        if isinstance(node, SequenceNode):
            return [self._value(child, (*parents, id(node))) for child in node.value]
        return self._mapping(node, parents) if isinstance(node, MappingNode) else self._scalar(node)

    def _mapping(self, node: MappingNode, parents: tuple[int, ...]) -> Keys:
        out = Keys()
        for key_node, value_node in node.value:
            mark, key = self._mark(key_node), key_node.value
            if key_node.tag not in TEXT:
                shown = f'; write "{key}"' if isinstance(key, str) else ""
                raise RecipeError(f"{mark.exact}: a key must be text{shown}.")
            if key in out:
                raise RecipeError(f"{mark.exact}: the key {key!r} stands here a second time (first {out.marks[key]}).")
            out[key] = self._value(value_node, (*parents, id(node)))
            out.marks[key] = mark
        return out

    def _scalar(self, node: ScalarNode) -> Any:
        tag, text = node.tag, node.value
        if tag in REFERENCES:
            return Reference(text, self._mark(node), self.document)
        if tag == PLACEHOLDER:
            return Placeholder(self._mark(node))
        if tag == CORE + "null" or (tag.startswith(CODE) and not text):
            return None
        if tag == CORE + "bool":
            return text.lower() == "true"
        return self._number(node) if tag in NUMBERS else text

    def _number(self, node: ScalarNode) -> int | float:
        text = node.value.replace("_", "").lower()
        try:
            if NUMBERS[node.tag] is float:
                number = float(text.replace(".inf", "inf").replace(".nan", "nan"))
            else:
                base = {"0x": 16, "0o": 8, "0b": 2}.get(text.lstrip("+-")[:2])
                number = int(text, base) if base else int(text)
        except ValueError:
            raise RecipeError(f"{self._mark(node).exact}: {node.value!r} is no number.") from None
        if isinstance(number, float) and not math.isfinite(number):
            raise RecipeError(f"{self._mark(node).exact}: {node.value} is not finite; a recipe's numbers are.")
        return number

    def _include(self, node: Node, parents: tuple[int, ...]) -> Keys:
        path = self.folder / node.tag.removeprefix(INCLUDE)
        if path.resolve() in self.including:
            chain = " -> ".join(p.name for p in (*self.including, path.resolve()))
            raise RecipeError(f"{self._mark(node).exact}: a file includes itself: {chain}.")
        if isinstance(node, ScalarNode) and node.value:
            raise RecipeError(f"{self._mark(node).exact}: after {node.tag} only a mapping of changed keys may stand.")
        if not path.is_file():
            raise RecipeError(f"{self._mark(node).exact}: the included file {path} is not there.")
        document = Document()
        tree = _read_file(path, self.trust, document=document, including=self.including)
        changes = self._mapping(node, parents) if isinstance(node, MappingNode) else Keys()
        document.tree = _update(tree, changes)
        return document.tree


def _update(tree: Keys, changes: Keys) -> Keys:
    out = Keys(tree, {**tree.marks, **changes.marks})
    for key, value in changes.items():
        old = out.get(key)
        out[key] = _update(old, value) if isinstance(old, Keys) and isinstance(value, Keys) else value
    return out
