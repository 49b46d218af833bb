"""!ref and !copy looked up in the merged recipe, placeholders found unfilled, trusted code run.

References are looked up after files and overrides are merged, so that a changed value changes what refers to it.
"""

import ast
import json
import math
import operator
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from toolkit.errors import RecipeError, did_you_mean
from toolkit.recipe.locations import Keys, Mark
from toolkit.recipe.yaml_files import CORE, Code, Placeholder, Reference

POINTER = re.compile(r"<([^<>]+)>")
OPERATIONS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


def resolve(tree: Keys, default: Callable[[tuple[str, ...]], Any]) -> Keys:
    """Replace every Reference by what it refers to and every Code by what it gives.

    Args:
        tree: the merged recipe.
        default: path -> the value that holds where the recipe is silent; raises KeyError where there is none.

    Returns:
        Plain values; each mapping still knows where its keys were written.

    Raises:
        RecipeError: for a reference to nothing or to itself, arithmetic that fails, a placeholder that is left.
    """
    return _Resolver(tree, default).value(tree, ())


class _Resolver:
    def __init__(self, tree: Keys, default: Callable[[tuple[str, ...]], Any]):
        self.tree, self.default = tree, default
        self.open: list[Reference] = []  # references that are being looked up

    def value(self, value: Any, path: tuple[str, ...]) -> Any:
        if isinstance(value, Keys):
            return Keys({key: self.value(v, (*path, key)) for key, v in value.items()}, value.marks)
        if isinstance(value, list):
            return [self.value(v, (*path, str(i))) for i, v in enumerate(value)]
        if isinstance(value, Reference):
            return self._reference(value)
        if isinstance(value, Placeholder):
            key = ".".join(path)
            raise RecipeError(f"{key} {value.mark}: this placeholder must be filled, e.g. with --{key} VALUE.")
        if isinstance(value, Code):
            return run_code(Code(value.tag, self._argument(value.argument, path), value.mark))
        return value

    def _argument(self, value: Any, path: tuple[str, ...]) -> Any:
        """The argument of trusted code, in which code may stand: run with the outer one."""
        if isinstance(value, Code):
            return Code(value.tag, self._argument(value.argument, path), value.mark)
        if isinstance(value, Keys):
            return Keys({key: self._argument(v, path) for key, v in value.items()}, value.marks)
        return [self._argument(v, path) for v in value] if isinstance(value, list) else self.value(value, path)

    def _reference(self, reference: Reference) -> Any:
        if any(reference is other for other in self.open):
            raise RecipeError(f"{reference.mark.exact}: the reference {reference.text!r} leads back to itself.")
        self.open.append(reference)
        try:
            text = reference.text.strip()
            if whole := POINTER.fullmatch(text):
                return self._look_up(whole[1], reference)
            found = {pointer: self._look_up(pointer, reference) for pointer in POINTER.findall(text)}
            return _fill(text, found, reference.mark)
        finally:
            self.open.pop()

    def _look_up(self, pointer: str, reference: Reference) -> Any:
        """The value at `a[b]` or `a.b`."""
        path = tuple(part for part in re.split(r"[\[\].]+", pointer.strip()) if part)
        value = self.tree if reference.document is None else reference.document.tree
        for depth, part in enumerate(path):
            value = self._reference(value) if isinstance(value, Reference) else value
            if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
                value = value[int(part)]
            elif isinstance(value, Mapping) and part in value:
                value = value[part]
            else:
                return self._default(path, depth, value, reference)
        return self.value(value, path)

    def _default(self, path: tuple[str, ...], depth: int, value: Any, reference: Reference) -> Any:
        try:
            if reference.document is None:
                return self.default(path)
        except KeyError:
            pass
        known = list(value) if isinstance(value, Mapping) else []
        raise RecipeError(
            f"{reference.mark.exact}: the reference {reference.text!r} finds nothing."
            f"{did_you_mean(path[depth], known)} It is written like <audio[sample_rate]>."
        )


def _fill(text: str, found: Mapping[str, Any], mark: Mark) -> Any:
    """Text with the values in their places; a number if it is arithmetic on numbers."""
    for pointer, value in found.items():
        if value is None or isinstance(value, (Mapping, list)):
            raise RecipeError(f"{mark.exact}: <{pointer}> is no text and no number and cannot stand in {text!r}.")
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in found.values())
    plain = {p: str(v).lower() if isinstance(v, bool) else str(v) for p, v in found.items()}
    if numbers:
        try:
            return arithmetic(POINTER.sub(lambda match: f"({plain[match[1]]})", text))
        except SyntaxError:
            pass
        except (ArithmeticError, ValueError) as error:
            raise RecipeError(f"{mark.exact}: {text!r} cannot be computed: {error}.") from None
    return POINTER.sub(lambda match: plain[match[1]], text)


def arithmetic(text: str) -> int | float:
    """The value of numbers with + - * / // % ** and parentheses; SyntaxError if it is anything else.

    >>> arithmetic("(16000) * 2 ** -1")
    8000.0
    """
    if len(text) > 1000 or not re.fullmatch(r"[\d\s.eE+\-*/%()_]+", text):
        raise SyntaxError(text)
    value = _evaluate(ast.parse(text.strip(), mode="eval").body)
    if isinstance(value, float) and not math.isfinite(value):
        raise OverflowError("the result is not finite")
    return value


def _evaluate(node: ast.expr) -> int | float:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value
    if isinstance(node, ast.UnaryOp) and type(node.op) in OPERATIONS:
        return OPERATIONS[type(node.op)](_evaluate(node.operand))
    if isinstance(node, ast.BinOp):
        left, right = _evaluate(node.left), _evaluate(node.right)
        if type(node.op) in OPERATIONS:
            return OPERATIONS[type(node.op)](left, right)
        if isinstance(node.op, ast.Pow):
            if abs(left) > 1e9 or abs(right) > 100 or (left < 0 and right != int(right)):
                raise OverflowError("such a power is not computed")
            return left**right
    raise SyntaxError("not arithmetic")


def run_code(code: Code) -> Any:
    """Run a trusted tag by HyperPyYAML.

    Raises:
        RecipeError: if it fails, or gives what a resolved recipe cannot hold: it must read the same everywhere.
    """
    from hyperpyyaml import load_hyperpyyaml
    from ruamel.yaml.resolver import implicit_resolvers

    name, known = code.tag.replace(CORE, "!!"), len(implicit_resolvers)
    try:
        value = load_hyperpyyaml(f"value: {_as_yaml(code)}")["value"]
    except Exception as error:
        raise RecipeError(f"{code.mark.exact}: {name} failed: {type(error).__name__}: {error}") from error
    finally:
        del implicit_resolvers[known:]  # HyperPyYAML's tuples, which all later files of this process would have too
    return _plain(value, name, code.mark)


def _as_yaml(value: Any) -> str:
    if isinstance(value, Code):
        return f"!<{value.tag}> {'' if value.argument is None else _as_yaml(value.argument)}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)}: {_as_yaml(v)}" for key, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_as_yaml, value)) + "]"
    return json.dumps(value)


def _plain(value: Any, name: str, mark: Mark) -> Any:
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return Keys({key: _plain(v, name, mark) for key, v in value.items()}, dict.fromkeys(value, mark))
    if isinstance(value, (list, tuple)):
        return [_plain(v, name, mark) for v in value]
    if isinstance(value, Path):
        return str(value)
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise RecipeError(
        f"{mark.exact}: {name} gives a {type(value).__name__}; a recipe holds text, numbers, lists and mappings."
    )
