"""Reads YAML files as values, and resolves the references in a merged recipe.

Tags that run code (!new:, !apply:, !name:, !module:, !!python/...) are refused unless the file is trusted. Values are
read as in YAML 1.2: 1e-4 is a number, `no` and `on` are text. HyperPyYAML does the arithmetic and runs trusted code. It
is not used for references: it turns `<a.b>` into a call of getattr, takes any text with `<` for a reference, and does
not end if references lead back to themselves or multiply.
"""

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from toolkit.errors import RecipeError, did_you_mean, one_line
from toolkit.files import read_text
from toolkit.recipe.checks import Keys, Mark, Tagged
from toolkit.recipe.reading import Keypath, merge

MOST_VALUES = 100_000  # aliases and references can make a small file enormous
DEEPEST = 50  # levels of nesting
LONGEST_TEXT = 2**18  # characters of a file
NO_RECIPE: Keypath = ("",)  # no key of a recipe
POINTER = re.compile(r"<([^<>]+)>")
INCLUDE = "!include:"
CORE = "tag:yaml.org,2002:"
CODE = ("!new:", "!apply:", "!applyref:", "!name:", "!module:", CORE + "python/")
TEXT = tuple(CORE + name for name in ("str", "timestamp", "value"))
OTHERS = tuple(CORE + name for name in ("int", "float", "bool", "null"))
PLAIN = (CORE + "map", CORE + "seq", *TEXT, *OTHERS)


def read_yaml(path: Path, *, at: Keypath = NO_RECIPE, trust: bool = False, budget: Iterator[int] | None = None) -> Keys:
    """Read a file that holds a mapping, and the files that it includes, as plain values and Tagged.

    `at` is the key of a recipe that the file gives, () for all; `budget` has a number for each value that may be read.
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
            position = getattr(error, "problem_mark", None)
            mark = Mark(self.source, position.line + 1 if position else 0)
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
        if isinstance(node, ScalarNode) and tag in ("!ref", "!copy", "!PLACEHOLDER"):
            return Tagged(tag.replace("copy", "ref"), node.value, self._mark(node))
        if tag not in PLAIN:
            known = "!ref, !copy, !include:file.yaml, !PLACEHOLDER"
            raise self._error(node, f"the tag {tag.replace(CORE, '!!')} cannot be used here. Known: {known}.")
        return self._content(node, at)

    def _content(self, node: Node, at: Keypath) -> Any:
        if isinstance(node, SequenceNode):
            return [self.value(child, (*at, "")) for child in node.value]
        if isinstance(node, MappingNode):
            return self._mapping(node, at)
        if node.tag not in OTHERS:
            return node.value
        try:
            value = self.yaml.constructor.construct_object(node)
        except (ValueError, LookupError):
            raise self._error(node, f"{node.value!r} is not a value of {node.tag.replace(CORE, '!!')}.") from None
        if isinstance(value, float) and not math.isfinite(value):
            raise self._error(node, f"{node.value} is not finite; a recipe's numbers must be.")
        return value

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


def resolve(tree: Keys, *, keep_placeholders: bool = False) -> Keys:
    """Replace every reference by what it refers to in the tree, and every tag that runs code by its result."""
    return _Resolver(tree, keep_placeholders).value(tree, ())


class _Resolver:
    def __init__(self, tree: Keys, keep_placeholders: bool):
        self.tree, self.keep_placeholders = tree, keep_placeholders
        self.open: list[Tagged] = []  # references that are being looked up
        self.values = 0

    def value(self, value: Any, path: tuple[str, ...]) -> Any:
        self.values += 1
        if self.values > MOST_VALUES:
            raise RecipeError(f"{'.'.join(path)}: references give this recipe more than {MOST_VALUES} values.")
        if isinstance(value, Keys):
            return Keys({key: self.value(v, (*path, key)) for key, v in value.items()}, value.marks)
        if isinstance(value, list):
            return [self.value(v, (*path, str(i))) for i, v in enumerate(value)]
        if not isinstance(value, Tagged) or (value.tag == "!PLACEHOLDER" and self.keep_placeholders):
            return value
        if value.tag == "!ref":
            return self._reference(value)
        if value.tag == "!PLACEHOLDER":
            key = ".".join(path)
            raise RecipeError(f"{key} {value.mark}: this placeholder must be filled, for example with --{key} VALUE.")
        return run_code(value.tag, self.value(value.value, path), value.mark)

    def _reference(self, reference: Tagged) -> Any:
        if reference in self.open:
            raise RecipeError(f"{reference.mark}: the reference {reference.value!r} leads back to itself.")
        self.open.append(reference)
        text = reference.value.strip()
        if whole := POINTER.fullmatch(text):
            value = self._look_up(whole[1], reference)
        else:
            values = {pointer: self._look_up(pointer, reference) for pointer in POINTER.findall(text)}
            value = _fill(text, values, reference.mark)
        self.open.pop()
        return value

    def _look_up(self, pointer: str, reference: Tagged) -> Any:
        """The value at `a[b]` or `a.b`."""
        path = tuple(part for part in re.split(r"[\[\].]+", pointer.strip()) if part)
        value: Any = self.tree
        for part in path:
            value = self._reference(value) if isinstance(value, Tagged) and value.tag == "!ref" else value
            if not isinstance(value, Mapping) or part not in value:
                near = did_you_mean(part, value if isinstance(value, Mapping) else ())
                raise RecipeError(f"{reference.mark}: the reference {reference.value!r} finds nothing.{near}")
            value = value[part]
        return self.value(value, path)


def _fill(text: str, values: Mapping[str, Any], mark: Mark) -> Any:
    """Text with the values in it; a number if it is arithmetic on numbers."""
    for pointer, value in values.items():
        if not isinstance(value, (str, int, float)):
            raise RecipeError(f"{mark}: <{pointer}> is neither text nor a number and cannot be part of {text!r}.")
    plain = {p: str(v).lower() if isinstance(v, bool) else str(v) for p, v in values.items()}
    filled = POINTER.sub(lambda match: plain[match[1]], text)
    if any(isinstance(value, (str, bool)) for value in values.values()):
        return filled
    try:
        value = arithmetic(POINTER.sub(lambda match: f"({plain[match[1]]})", text))
    except (ArithmeticError, ValueError) as error:
        raise RecipeError(f"{mark}: {text!r} cannot be computed: {error}.") from None
    return filled if value is None else value


def arithmetic(text: str) -> int | float | None:
    """The value of numbers with + - * / // % and parentheses, as in Python; None if it is anything else."""
    if len(text) > 1000 or "**" in text or not re.fullmatch(r"[\d\s.eE+\-*/%()]+", text):
        return None
    from hyperpyyaml.core import parse_arithmetic

    value = parse_arithmetic(re.sub(r"(^|\()\s*-", r"\1(0 - 1) * ", text).strip())  # it has no unary minus
    if isinstance(value, float) and not math.isfinite(value):
        raise OverflowError("the result is not finite")
    return None if isinstance(value, str) else value


def run_code(tag: str, argument: Any, mark: Mark) -> Any:
    """Run a trusted tag with HyperPyYAML; its result must be plain, as a resolved recipe reads the same everywhere."""
    from hyperpyyaml import load_hyperpyyaml
    from ruamel.yaml.resolver import implicit_resolvers

    name, known = tag.replace(CORE, "!!"), len(implicit_resolvers)
    try:
        value = load_hyperpyyaml(f"value: !<{tag}> {'' if argument is None else json.dumps(argument)}")["value"]
    except Exception as error:
        raise RecipeError(f"{mark}: {name} failed: {one_line(error)}") from error
    finally:
        del implicit_resolvers[known:]  # HyperPyYAML's resolver of tuples, which would stay for all later files
    try:
        return json.loads(json.dumps(value, default=os.fspath, allow_nan=False))
    except (TypeError, ValueError):
        what = f"{name} gives a {type(value).__name__}"
        raise RecipeError(f"{mark}: {what}; a recipe holds text, numbers, lists and mappings.") from None
