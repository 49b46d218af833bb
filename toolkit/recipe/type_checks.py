"""Values of a recipe against Python's type annotations: what fits, what is converted, how to say what does not.

>>> check_value(3, float)
3.0
>>> check_value("3", int)
Traceback (most recent call last):
    ...
toolkit.recipe.type_checks.Mismatch: '3' is text; a whole number is needed.
>>> type_text(int | None)
'int | None'
"""

import collections.abc
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from toolkit.errors import did_you_mean

WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    type(None): "null",
    list: "a list",
    dict: "a mapping",
    Path: "a path",
}
SEQUENCES = (list, tuple, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
MAPPINGS = (dict, collections.abc.Mapping)


class Mismatch(ValueError):  # noqa: N818 - reads as the sentence it prints
    """A value is not what its annotation asks for; the text says both."""


def check_value(value: Any, annotation: Any) -> Any:
    """Check a value that came out of YAML.

    Args:
        value: None, bool, int, float, str, list or dict.
        annotation: a plain type, a union, Literal, list[...], tuple[...], dict[...] or Path. What is not known here
            (a class of the plugin's own) is not checked.

    Returns:
        The value: int as float where a float is wanted, list as tuple, str as Path.

    Raises:
        Mismatch: if it does not fit. True and false are no numbers.
    """
    annotation, origin = _plain(annotation), get_origin(_plain(annotation))
    if origin in (Union, types.UnionType):
        return _check_union(value, annotation)
    if origin is Literal:
        if any(value == choice and type(value) is type(choice) for choice in get_args(annotation)):
            return value
        raise _mismatch(value, annotation)
    if (origin or annotation) in SEQUENCES:
        return _check_items(value, annotation)
    if (origin or annotation) in MAPPINGS:
        return _check_mapping(value, annotation)
    return _check_scalar(value, annotation)


def words(annotation: Any) -> str:
    """What an annotation asks for, in words."""
    annotation, origin, inner = _plain(annotation), get_origin(_plain(annotation)), get_args(_plain(annotation))
    if origin in (Union, types.UnionType):
        return " or ".join(words(member) for member in inner)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, inner)) if len(inner) > 1 else repr(inner[0])
    if (origin or annotation) in SEQUENCES:
        many = {int: "whole numbers", float: "numbers", str: "texts", bool: "true and false"}
        return f"a list of {many[inner[0]]}" if inner and inner[0] in many else "a list"
    if (origin or annotation) in MAPPINGS:
        return "a mapping"
    return WORDS.get(annotation, type_text(annotation))


def type_text(annotation: Any) -> str:
    """An annotation as one writes it, without module names."""
    annotation, origin = _plain(annotation), get_origin(_plain(annotation))
    if origin in (Union, types.UnionType):
        return " | ".join(type_text(member) for member in get_args(annotation))
    if origin is Literal:
        return " | ".join(map(repr, get_args(annotation)))
    if annotation is type(None):
        return "None"
    if annotation is Ellipsis:
        return "..."
    if origin is not None:
        name = getattr(origin, "__name__", str(origin))
        return f"{name}[{', '.join(type_text(member) for member in get_args(annotation))}]"
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


def _plain(annotation: Any) -> Any:
    if annotation is None:
        return type(None)
    return _plain(get_args(annotation)[0]) if get_origin(annotation) is Annotated else annotation


def _check_scalar(value: Any, annotation: Any) -> Any:
    if annotation not in WORDS:
        return value
    if annotation is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise Mismatch(f"{str(value)[:20]}... is too large for a number.") from None
    if annotation is Path and isinstance(value, str):
        return Path(value)
    if type(value) is annotation:
        return value
    raise _mismatch(value, annotation)


def _check_union(value: Any, annotation: Any) -> Any:
    members = [_plain(member) for member in get_args(annotation)]
    if type(value) in members:  # an int stays an int for float | int
        return value
    for member in members:
        try:
            return check_value(value, member)
        except Mismatch as error:
            if isinstance(value, list) and (get_origin(member) or member) in SEQUENCES:
                raise error
    raise _mismatch(value, annotation)


def _check_items(value: Any, annotation: Any) -> Any:
    if not isinstance(value, (list, tuple)):
        raise _mismatch(value, annotation)
    kind, inner = get_origin(annotation) or annotation, get_args(annotation)
    if kind is tuple and inner and inner[-1] is not Ellipsis:
        if len(value) != len(inner):
            raise Mismatch(f"{_short(value)} holds {len(value)} values; {len(inner)} are needed.")
        items = [_check_item(*item) for item in zip(range(len(value)), value, inner, strict=True)]
    else:
        items = [_check_item(index, item, inner[0] if inner else Any) for index, item in enumerate(value)]
    return tuple(items) if kind is tuple else items


def _check_item(index: int, item: Any, annotation: Any) -> Any:
    try:
        return check_value(item, annotation)
    except Mismatch as error:
        raise Mismatch(f"value {index + 1} of the list: {error}") from None


def _check_mapping(value: Any, annotation: Any) -> dict:
    if not isinstance(value, collections.abc.Mapping):
        raise _mismatch(value, annotation)
    key_type, value_type = get_args(annotation) or (Any, Any)
    out = {}
    for key, item in value.items():
        try:
            out[check_value(key, key_type)] = check_value(item, value_type)
        except Mismatch as error:
            raise Mismatch(f"{key}: {error}") from None
    return out


def _mismatch(value: Any, annotation: Any) -> Mismatch:
    kinds = [kind for kind in WORDS if kind is not Path and isinstance(value, kind)]
    found = ("a truth value" if kinds[0] is bool else WORDS[kinds[0]]) if kinds else "not plain"
    near = did_you_mean(value, _choices(annotation)) if isinstance(value, str) else ""
    needed = words(annotation)
    if value is None:
        return Mismatch(f"null is given; {needed} is needed.{near}")
    if found == needed or get_origin(_plain(annotation)) is Literal:
        return Mismatch(f"{_short(value)} is not {needed}.{near}")
    return Mismatch(f"{_short(value)} is {found}; {needed} is needed.{near}")


def _choices(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [c for member in get_args(annotation) for c in _choices(_plain(member)) if isinstance(c, str)]


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
