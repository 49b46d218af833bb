"""Merges trees of values by the types of a recipe's dataclasses, and makes checked dataclasses from them.

docs/recipes.md has the rules by which a file that extends another, `without_data` and overrides are merged.
"""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from toolkit.errors import RecipeError, did_you_mean
from toolkit.recipe.checks import NOWHERE, BadField, Keys, Location, Mark, Mismatch, Tagged, check_value, members, words
from toolkit.recipe.schema import Recipe, plain_values

Keypath = tuple[str, ...]


@cache
def schema_of(cls: type) -> dict[str, tuple[Any, Any]]:
    """The keys of a dataclass of the schema: key -> its type and its default, which may be MISSING."""
    hints, schema = get_type_hints(cls), {}
    for field in fields(cls):
        default = field.default if field.default_factory is MISSING else field.default_factory()
        schema[field.name] = hints[field.name], default
    schema.pop("where", None)
    return schema


def annotation_at(path: Keypath) -> Any:
    """The type of the value at a path of a recipe, None if a recipe has no such path; a level may have any name."""
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


def _identity_key(annotation: Any) -> str | None:
    """The key that names what a part of a recipe is, such as `plugin`; None for any other annotation."""
    first = next(iter(schema_of(annotation))) if is_dataclass(annotation) and annotation is not Recipe else None
    return first if first in ("plugin", "name", "source") else None


def spelled_out(value: Any, annotation: Any, mark: Mark | None) -> Any:
    """Write out a part that is given by its name alone, such as `protocol: loso`, as a mapping."""
    key = _identity_key(annotation) if isinstance(value, str) else None
    return Keys({key: value}, {key: mark}) if key else value


def known_paths(tree: Any, path: Keypath = ()) -> Iterator[str]:
    """Every dotted path that the schema knows in a recipe, with the names of its levels, heads and losses."""
    annotation, tree = annotation_at(path), tree if isinstance(tree, Mapping) else {}
    for key in schema_of(annotation) if is_dataclass(annotation) else tree:
        here = (*path, key)
        yield ".".join(here)
        yield from known_paths(tree.get(key), here)


def merge(base: Keys, child: Keys, path: Keypath = ()) -> Keys:
    """The child's keys on top of the base's, in a new mapping, where each key has the mark of the value that counts."""
    annotation = annotation_at(path)
    out = Keys(base, {**base.marks, **child.marks})
    for dependent in _dropped(base, child, annotation):
        out.pop(dependent, None)
    for key, value in child.items():
        here = (*path, key)
        kind, where = annotation_at(here), Location(".".join(here), child.marks.get(key))
        value = spelled_out(value, kind, where.mark)
        if isinstance(value, Keys):
            inherited = out.get(key)
            if isinstance(inherited, Tagged) and inherited.tag != "!PLACEHOLDER" and _identity_key(kind) not in value:
                problem = f"its keys cannot be changed, since {inherited.tag} gives them {inherited.mark}"
                raise RecipeError(f"{where}: {problem}: write the whole mapping there.")
            out[key] = merge(inherited if isinstance(inherited, Keys) else Keys(), value, here)
        elif value is not None or NoneType in members(kind):
            out[key] = value
        elif key in out:
            del out[key]
        elif is_dataclass(kind) and get_origin(annotation) is Mapping:
            raise RecipeError(f"{where}: null removes, but nothing of this name is inherited.{did_you_mean(key, out)}")
        else:
            out[key] = None
    return out


def _dropped(base: Keys, child: Keys, annotation: Any) -> tuple[str, ...]:
    """Keys of the base to drop, since the child names another plugin, name or source."""
    identity = _identity_key(annotation)
    old, new = base.get(identity), child.get(identity)
    if None in (identity, old, new):
        return ()
    (old_from, _, old_name), (new_from, _, new_name) = (str(value).rpartition(":") for value in (old, new))
    if old_name == new_name and (old_from == new_from or "" in (old_from, new_from)):
        return ()  # `distribution:` only says which one was meant
    return ("level", "weight") if identity == "source" else ("args",)


def read_plain(annotation: Any, value: Any, location: Location = NOWHERE) -> Any:
    """Make the dataclass, or other value, that an annotation asks for from a resolved tree or other plain values."""
    value = spelled_out(value, annotation, location.mark)
    try:
        if is_dataclass(annotation):
            return _read_dataclass(annotation, check_value(value, dict), location)
        if get_origin(annotation) is Mapping:
            kind = get_args(annotation)[1]
            return {k: read_plain(kind, inner, location.child(k)) for k, inner in check_value(value, dict).items()}
        return check_value(plain_values(value), annotation)
    except Mismatch as error:
        raise RecipeError(f"{location}: {error}") from None


def _read_dataclass(cls: type, values: Mapping[str, Any], location: Location) -> Any:
    read: dict[str, Any] = {}
    known = [*schema_of(cls), *(("extends", "without_data") if cls is Recipe else ())]
    for key in values:
        if key not in schema_of(cls):
            near = did_you_mean(key, known)
            raise RecipeError(f"{location.child(key)}: unknown key.{near} Known: {', '.join(known)}.")
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
