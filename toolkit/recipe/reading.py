"""Trees of values against the recipe's dataclasses: unknown keys, wrong types, defaults, and the dataclasses made."""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from toolkit.errors import RecipeError, did_you_mean
from toolkit.recipe.field_checks import BadField
from toolkit.recipe.locations import Keys, Location, Mark
from toolkit.recipe.schema import Recipe, plain_values
from toolkit.recipe.type_checks import Mismatch, check_value, members, words

Path = tuple[str, ...]
FILE_KEYS = ("extends", "without_data")  # keys of files that a resolved recipe does not have
WHOLE = Location()
IDENTITIES = ("plugin", "name", "source")  # keys that name what a part is


@cache
def schema_of(cls: type) -> dict[str, tuple[Any, Any]]:
    """Key -> its type and its default, MISSING where there is none, of one of the schema's dataclasses."""
    hints, schema = get_type_hints(cls), {}
    for field in fields(cls):
        default = field.default if field.default_factory is MISSING else field.default_factory()
        schema[field.name] = hints[field.name], default
    schema.pop("where", None)
    return schema


def annotation_at(path: Path) -> Any:
    """The type of the value at a path of a recipe, None if there is no such path; any name of a level is known."""
    annotation: Any = Recipe
    for key in path:
        if is_dataclass(annotation):
            annotation = schema_of(annotation).get(key, (None,))[0]
        elif get_origin(annotation) is Mapping:
            annotation = get_args(annotation)[1]
        elif annotation is not Any:
            return None
    return annotation


def defaults(cls: type = Recipe) -> Keys:
    """The values of all keys that a recipe may leave out, as a tree."""
    tree = Keys()
    for key, (kind, default) in schema_of(cls).items():
        if is_dataclass(kind):
            tree[key] = defaults(kind)
        elif default is not MISSING:
            tree[key] = plain_values(default)
    return tree


def null_is_value(path: Path) -> bool:
    """Whether null at a path is a value (for example, no clipping) and does not remove a key."""
    return NoneType in members(annotation_at(path))


def text_is_wanted(path: Path) -> bool:
    """Whether text, and not a list or mapping, is wanted at a path."""
    kinds = members(annotation_at(path))
    return str in kinds and not any(get_origin(kind) for kind in kinds)


def identity_key(annotation: Any) -> str | None:
    """The key that names what a part of a recipe is, such as `plugin`; None if the annotation is not of a part."""
    first = next(iter(schema_of(annotation))) if is_dataclass(annotation) and annotation is not Recipe else None
    return first if first in IDENTITIES else None


def spelled_out(value: Any, annotation: Any, mark: Mark | None) -> Any:
    """A part that is written as its name alone, such as `protocol: loso`, as a mapping."""
    key = identity_key(annotation) if isinstance(value, str) else None
    return Keys({key: value}, {key: mark}) if key else value


def known_paths(tree: Mapping[str, Any]) -> Iterator[str]:
    """Every dotted path that the schema knows in a recipe, with the names of its levels, heads and losses."""

    def walk(annotation: Any, value: Any, path: str) -> Iterator[str]:
        if path:
            yield path
        inner = value if isinstance(value, Mapping) else {}
        if is_dataclass(annotation):
            for key, (kind, _) in schema_of(annotation).items():
                yield from walk(kind, inner.get(key), f"{path}.{key}".lstrip("."))
        else:
            kind = get_args(annotation)[1] if get_origin(annotation) is Mapping else Any
            for key in inner:
                yield from walk(kind, inner[key], f"{path}.{key}")

    return walk(Recipe, tree, "")


def check_keys(tree: Keys, path: Path = (), also: tuple[str, ...] = ()) -> None:
    """Refuse unknown keys at any depth, and spell out parts that are written as a name.

    Args:
        tree: changed in place.
        path: its path in the recipe.
        also: more keys that the top level may hold.

    Raises:
        RecipeError: for the first unknown key.
    """
    annotation = annotation_at(path)
    for key, value in tree.items():
        if is_dataclass(annotation):
            _check_key(key, annotation, Location(".".join((*path, key)), tree.marks[key]), also)
        kind = annotation_at((*path, key))
        tree[key] = spelled_out(value, kind, tree.marks[key])
        if isinstance(tree[key], Keys) and kind is not Any:
            check_keys(tree[key], (*path, key))


def read_plain(annotation: Any, value: Any, location: Location = WHOLE) -> Any:
    """Make a dataclass, or another value that an annotation asks for, of plain values.

    Args:
        annotation: one of the schema's dataclasses, one like them, or a type.
        value: a resolved tree, or what `plain_values` gave.
        location: of the value, for messages.

    Raises:
        RecipeError: for the first key or value that does not fit, with its location.
    """
    value = spelled_out(value, annotation, location.mark)
    try:
        if is_dataclass(annotation):
            return _read_dataclass(annotation, check_value(value, dict), location)
        if get_origin(annotation) is Mapping:
            kind = get_args(annotation)[1]
            items = [(k, v) for k, v in check_value(value, dict).items() if v is not None or not is_dataclass(kind)]
            return {key: read_plain(kind, inner, location.child(key)) for key, inner in items}
        return check_value(plain_values(value), annotation)
    except Mismatch as error:
        raise RecipeError(f"{location}: {error}") from None


def _read_dataclass(cls: type, values: Mapping[str, Any], location: Location) -> Any:
    read: dict[str, Any] = {}
    for key in values:
        _check_key(key, cls, location.child(key))
    for key, (kind, default) in schema_of(cls).items():
        if values.get(key) is not None or (key in values and NoneType in members(kind)):
            read[key] = read_plain(kind, values[key], location.child(key))
        elif default is MISSING:
            raise RecipeError(f"{location.child(key)}: this key is missing; {words(kind)} is needed.")
    if any(field.name == "where" for field in fields(cls)):
        read["where"] = location
    try:
        return cls(**read)
    except BadField as error:
        raise RecipeError(f"{location.child(*error.path.split('.'))}: {error.problem}") from None


def _check_key(key: str, cls: type, location: Location, also: tuple[str, ...] = ()) -> None:
    known = [*schema_of(cls), *also]
    if key not in known:
        raise RecipeError(f"{location}: there is no such key.{did_you_mean(key, known)} Known: {', '.join(known)}.")
