"""Resolves !ref, !copy and !PLACEHOLDER in a merged recipe, and runs the trusted tags that run code.

HyperPyYAML does the arithmetic and runs trusted code. It does not look up: it turns `<a.b>` into a call of getattr,
takes any text with `<` for a reference, and does not end if references lead back to themselves or multiply.
"""

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.errors import RecipeError, did_you_mean, one_line
from toolkit.recipe.locations import Keys, Mark

CORE = "tag:yaml.org,2002:"
POINTER = re.compile(r"<([^<>]+)>")
MOST_VALUES = 100_000  # aliases and references can make a small file enormous


@dataclass(frozen=True)
class Tagged:
    """A value with one of HyperPyYAML's tags, before anything is looked up or run; !copy is read as !ref."""

    tag: str
    value: Any
    mark: Mark


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
