"""Trees of values against the recipe's dataclasses: unknown keys, wrong types, locations, and the dataclasses made."""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from toolkit.errors import RecipeError, did_you_mean
from toolkit.recipe.field_checks import BadField
from toolkit.recipe.locations import Keys, Location, Mark
from toolkit.recipe.schema import Recipe
from toolkit.recipe.type_checks import Mismatch, check_value, words

Path = tuple[str, ...]
FILE_KEYS = ("extends", "without_data")  # what stands in a file and not in a resolved recipe


def annotation_at(path: Path) -> Any:
    """The type of what stands at a path of a recipe.

    Raises:
        KeyError: if the schema knows no such path; names of levels and the like are all known.
    """
    annotation: Any = Recipe
    for key in path:
        if is_dataclass(annotation):
            annotation = _types(annotation)[key]
        elif get_origin(annotation) in (dict, Mapping):
            annotation = get_args(annotation)[1]
        elif annotation is not Any:
            raise KeyError(key)
    return annotation


def default_at(path: Path) -> Any:
    """The value that holds at a path where a recipe is silent; KeyError where there is none."""
    value: Any = Recipe
    for key in path:
        if is_dataclass(value) and isinstance(value, type):
            field = next((f for f in _fields(value) if f.name == key), None)
            annotation = _types(value).get(key)
            value = _default(field) if field else MISSING
            value = annotation if value is MISSING and is_dataclass(annotation) else value
        elif is_dataclass(value) and key in _types(type(value)):
            value = getattr(value, key)
        else:
            raise KeyError(key)
        if value is MISSING:
            raise KeyError(key)
    if is_dataclass(value) or isinstance(value, Mapping):
        raise KeyError(path[-1])
    return value


def null_is_value(path: Path) -> bool:
    """Whether null at a path says something (no clipping, say) and does not remove a key."""
    try:
        annotation = annotation_at(path)
    except KeyError:
        return False
    return NoneType in _members(annotation)


def text_is_wanted(path: Path) -> bool:
    """Whether text, and no list or mapping, is wanted at a path."""
    try:
        annotation = annotation_at(path)
    except KeyError:
        return False
    return str in _members(annotation) and not any(get_origin(member) for member in _members(annotation))


def known_paths(tree: Mapping[str, Any]) -> Iterator[str]:
    """Every dotted path that the schema knows in a recipe, with the names of its levels, heads and losses."""

    def walk(annotation: Any, value: Any, path: str) -> Iterator[str]:
        if path:
            yield path
        if is_dataclass(annotation):
            for key, kind in _types(annotation).items():
                inner = value.get(key) if isinstance(value, Mapping) else None
                yield from walk(kind, inner, f"{path}.{key}".lstrip("."))
        elif isinstance(value, Mapping):
            kind = get_args(annotation)[1] if len(get_args(annotation)) == 2 else Any
            for key, inner in value.items():
                yield from walk(kind, inner, f"{path}.{key}")

    return walk(Recipe, tree, "")


def check_keys(tree: Keys, path: Path = (), also: tuple[str, ...] = ()) -> None:
    """Refuse keys that the schema does not know, at any depth; `also` names more that the top level may hold."""
    annotation = annotation_at(path)
    for key, value in tree.items():
        if is_dataclass(annotation) and key not in _types(annotation):
            if key in also:
                continue
            raise _unknown(Location(".".join((*path, key)), tree.marks[key]), key, annotation, also)
        if isinstance(value, Keys) and _holds_keys(annotation_at((*path, key))):
            check_keys(value, (*path, key))


def read_recipe(tree: Keys, source: str) -> Recipe:
    """Make a Recipe of a resolved tree; `source` is the file that is named where a key is missing.

    Raises:
        RecipeError: for the first key or value that does not fit, with its location.
    """
    return _read(Recipe, tree, Location("", Mark(source), tree))


def read_plain(cls: type, values: Any) -> Any:
    """Make one of the schema's dataclasses, or one like them, of what `plain_values` gave.

    Raises:
        RecipeError: for the first key or value that does not fit, with its dotted path.
    """
    return _read(cls, values, Location())


def _read(annotation: Any, value: Any, location: Location) -> Any:
    if is_dataclass(annotation):
        return _read_dataclass(annotation, value, location)
    if _holds_keys(annotation):
        inner = get_args(annotation)[1]
        values = _mapping(value, annotation, location).items()
        if not is_dataclass(inner):
            return {key: _read(inner, item, location.child(key)) for key, item in values}
        return {key: _read(inner, item, location.child(key)) for key, item in values if item is not None}
    try:
        return check_value(_unmarked(value), annotation)
    except Mismatch as error:
        raise RecipeError(f"{location}: {error}") from None


def _read_dataclass(cls: type, value: Any, location: Location) -> Any:
    tree, types = _mapping(value, cls, location), _types(cls)
    for key in tree:
        if key not in types:
            raise _unknown(location.child(key), key, cls, ())
    values = {}
    for field in _fields(cls):
        if tree.get(field.name) is not None or (field.name in tree and NoneType in _members(types[field.name])):
            values[field.name] = _read(types[field.name], tree[field.name], location.child(field.name))
        elif _default(field) is MISSING:
            needed = "a mapping" if is_dataclass(types[field.name]) else words(types[field.name])
            raise RecipeError(f"{location.child(field.name)}: this key is missing; {needed} is needed.")
    where = {"where": location} if any(f.name == "where" for f in fields(cls)) else {}
    try:
        return cls(**values, **where)
    except BadField as error:
        raise RecipeError(f"{location.child(*error.path.split('.'))}: {error.problem}") from None


def _mapping(value: Any, annotation: Any, location: Location) -> Mapping:
    if isinstance(value, Mapping):
        return value
    hint = ""
    if is_dataclass(annotation) and isinstance(value, str):
        first = next(iter(_types(annotation)))
        hint = f" Write {{{first}: {value}}}." if first in ("plugin", "name") else ""
    try:
        check_value(value, dict)
    except Mismatch as error:
        raise RecipeError(f"{location}: {error}{hint}") from None
    return value


def _unknown(location: Location, key: str, cls: type, also: tuple[str, ...]) -> RecipeError:
    known = [*_types(cls), *also]
    return RecipeError(f"{location}: there is no such key.{did_you_mean(key, known)} Known: {', '.join(known)}.")


def _unmarked(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _unmarked(item) for key, item in value.items()}
    return [_unmarked(item) for item in value] if isinstance(value, list) else value


def _members(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _holds_keys(annotation: Any) -> bool:
    return is_dataclass(annotation) or get_origin(annotation) in (dict, Mapping)


def _default(field: Field) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _fields(cls: type) -> list[Field]:
    return [field for field in fields(cls) if field.name != "where"]


@cache
def _types(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in _fields(cls)}
