"""A recipe's values: where each was written, and whether it fits its type annotation or the range of its field."""

import re
import types
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from toolkit.errors import did_you_mean

WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    type(None): "null",
    list: "a list",
    tuple: "a list",
    dict: "a mapping",
    Path: "a path",
}
LARGEST = 2**63 - 1
UNWRITABLE = re.compile("[\\0\\ud800-\\udfff]")
UNIONS = (Union, types.UnionType)
CONCRETE = {Sequence: list, Iterable: list, Collection: list, Mapping: dict}


@dataclass(frozen=True)
class Mark:
    """A position in a recipe file, counted from 1, or the whole file (line 0), or the command line (source "")."""

    source: str
    line: int = 0

    def __str__(self):
        line = f", line {self.line}" if self.line else ""
        return f"in {self.source}{line}" if self.source else "on the command line"


COMMAND_LINE = Mark("")


class Keys(dict):
    """A mapping that knows where each of its keys was written: `marks`, key -> Mark."""

    def __init__(self, values=(), marks=None):
        super().__init__(values)
        self.marks: dict[str, Mark] = dict(marks or {})


@dataclass(frozen=True)
class Tagged:
    """A value with one of HyperPyYAML's tags, before anything is looked up or run; !copy is read as !ref."""

    tag: str
    value: Any
    mark: Mark


@dataclass(frozen=True)
class Location:
    """A dotted path ("" for the whole recipe) with the position of its value and the value itself, where known."""

    path: str = ""
    mark: Mark | None = None
    value: Any = field(default=None, repr=False, compare=False)

    def child(self, *keys: str) -> "Location":
        """The location of a key inside; the mark is that of the nearest parent where the key has none."""
        location = self
        for key in keys:
            value, mark = location.value, location.mark
            if isinstance(value, Keys):
                value, mark = value.get(key), value.marks.get(key, mark)
            location = Location(f"{location.path}.{key}".lstrip("."), mark, value)
        return location

    def before(self, *keys: str) -> str:
        """The location of a key inside as the beginning of a message; "" if this location has no path."""
        return f"{self.child(*keys)}: " if self.path else ""

    def __str__(self):
        return f"{self.path} {self.mark or ''}".strip()


NOWHERE = Location()


class Mismatch(ValueError):  # noqa: N818 - reads as the sentence it prints
    """A value is not what its annotation asks for; the message has both."""


class BadField(ValueError):  # noqa: N818 - reads as the sentence it prints
    """A field is out of its range or does not fit the others; the message is its dotted path, then `problem`."""

    def __init__(self, path: str, problem: str):
        super().__init__(f"{path} {problem}")
        self.path, self.problem = path, problem


def at_least(spec: Any, least: int, *names: str) -> None:
    """Refuse fields below `least`; None passes."""
    for name in names:
        value = getattr(spec, name)
        if value is not None and value < least:
            raise BadField(name, f"must be at least {least}, not {value}.")


def require_known(path: str, names: Iterable[str], choices: Iterable[str], noun: str) -> None:
    """Refuse names that are not among the choices."""
    known = list(dict.fromkeys(choices))
    for name in names:
        if name not in known:
            near = did_you_mean(name, known)
            raise BadField(path, f"names {name!r}, an unknown {noun}.{near} Known: {', '.join(known)}.")


def check_value(value: Any, annotation: Any) -> Any:
    """Check a value from YAML, and convert it: int to float where a float is wanted, list to tuple, str to Path.

    Annotations other than plain types, unions, Literal, list, tuple, dict and Path are not checked.
    """
    kind, inner = _parts(annotation)
    if isinstance(value, str) and UNWRITABLE.search(value):
        raise Mismatch(f"{_short(value)} holds a NUL or a lone surrogate, which no file can hold.")
    if type(value) is int and abs(value) > LARGEST:
        raise Mismatch(f"{_short(value)} is too large a number.")
    if kind in UNIONS:
        return _check_union(value, annotation)
    if kind is Literal and any(value == choice and type(value) is type(choice) for choice in inner):
        return value
    if kind in (list, tuple) and isinstance(value, (list, tuple)):
        return _check_items(value, kind, inner)
    if kind is dict and isinstance(value, Mapping):
        key_type, value_type = inner or (Any, Any)
        return {check_value(key, key_type): _check_inner(item, value_type, f"{key}: ") for key, item in value.items()}
    if kind is float and type(value) is int:
        return float(value)
    if kind is Path and isinstance(value, (str, Path)):
        return Path(value)
    if type(value) is kind or kind not in (*WORDS, Literal):
        return value
    raise _mismatch(value, annotation)


def members(annotation: Any) -> tuple[Any, ...]:
    """The types of a union, else the one type."""
    kind, inner = _parts(annotation)
    return inner if kind in UNIONS else (annotation,)


def words(annotation: Any) -> str:
    """What an annotation asks for, in words."""
    kind, inner = _parts(annotation)
    if kind in UNIONS:
        return " or ".join(map(words, inner))
    if kind is Literal:
        return "one of " + ", ".join(map(repr, inner)) if len(inner) > 1 else repr(inner[0])
    return WORDS.get(dict if is_dataclass(kind) else kind, type_text(annotation))


def type_text(annotation: Any) -> str:
    """An annotation as it is written in code, without module names."""
    kind, inner = _parts(annotation)
    if kind is Literal:
        return " | ".join(map(repr, inner))
    if kind in UNIONS:
        return " | ".join(map(type_text, inner))
    special = {Ellipsis: "...", type(None): "None"}
    name = special.get(kind) or getattr(kind, "__name__", str(kind).replace("typing.", ""))
    return f"{name}[{', '.join(map(type_text, inner))}]" if inner else name


def _parts(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """An annotation's origin and arguments: list and (int,) for list[int] and Sequence[int], int and () for int."""
    kind = get_origin(annotation) or (type(None) if annotation is None else annotation)
    return CONCRETE.get(kind, kind), get_args(annotation)


def _check_union(value: Any, annotation: Any) -> Any:
    exact_first = sorted(members(annotation), key=lambda member: member is not type(value))
    for member in exact_first:  # an int stays an int for float | int
        try:
            return check_value(value, member)
        except Mismatch:
            kind = _parts(member)[0]
            if (isinstance(value, list) and kind in (list, tuple)) or (isinstance(value, dict) and kind is dict):
                raise  # about a value inside
    raise _mismatch(value, annotation)


def _check_items(value: list | tuple, kind: Any, inner: tuple[Any, ...]) -> list | tuple:
    if kind is list or not inner or inner[-1] is Ellipsis:
        inner = (inner[0] if inner else Any,) * len(value)
    if len(value) != len(inner):
        raise Mismatch(f"{_short(value)} holds {len(value)} values; {len(inner)} are needed.")
    numbered = enumerate(zip(value, inner, strict=True), start=1)
    items = [_check_inner(item, each, f"value {number} of the list: ") for number, (item, each) in numbered]
    return tuple(items) if kind is tuple else items


def _check_inner(item: Any, annotation: Any, which: str) -> Any:
    try:
        return check_value(item, annotation)
    except Mismatch as error:
        raise Mismatch(f"{which}{error}") from None


def _mismatch(value: Any, annotation: Any) -> Mismatch:
    choices = [choice for member in members(annotation) if get_origin(member) is Literal for choice in get_args(member)]
    near, needed = did_you_mean(value, choices), words(annotation)
    if value is None:
        return Mismatch(f"null is given; {needed} is needed.{near}")
    if _parts(annotation)[0] is Literal:
        return Mismatch(f"{_short(value)} is not {needed}.{near}")
    kind = next((kind for kind in WORDS if isinstance(value, kind)), None)
    given = "a truth value" if kind is bool else WORDS.get(kind, "not plain")
    return Mismatch(f"{_short(value)} is {given}; {needed} is needed.{near}")


def _short(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
