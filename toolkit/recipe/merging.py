"""Deep merge of recipes: `extends`, `without_data` and overrides.

- Mappings are merged key by key; everything else, lists included, is replaced.
- `null` removes an inherited key. Where null is itself a value (`fold`, `training.max_grad_norm`, the entries of
  `label_map`), it sets null. Where nothing is inherited, it stays null.
- A changed `plugin` drops the inherited `args`, and so does a changed name of a protocol, an optimizer or a schedule; a
  changed `source` of a covariate drops the inherited `level` and `weight`.
"""

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import get_origin

from toolkit.errors import RecipeError, did_you_mean
from toolkit.recipe.locations import Keys, Location
from toolkit.recipe.reading import Path, annotation_at, identity_key, null_is_value


def merge(base: Keys, child: Keys, path: Path = ()) -> Keys:
    """The child's keys on top of the base's.

    Args:
        base: what is inherited; left as it is.
        child: what differs; left as it is.
        path: of both in the recipe.

    Returns:
        A new mapping, the base's keys first; the mark of each key is that of the file whose value holds.

    Raises:
        RecipeError: if null would remove a level, covariate, head or loss that is not there.
    """
    out = Keys(base, {**base.marks, **child.marks})
    for dependent in _dropped(base, child, path):
        out.pop(dependent, None)
    for key, value in child.items():
        here = (*path, key)
        if isinstance(value, Keys):
            inherited = out.get(key)
            out[key] = merge(inherited if isinstance(inherited, Keys) else Keys(), value, here)
        elif value is not None or null_is_value(here):
            out[key] = value
        elif key in out:
            del out[key]
        elif is_dataclass(annotation_at(here)) and get_origin(annotation_at(path)) is Mapping:
            problem = f"null removes, but nothing of this name is inherited.{did_you_mean(key, out)}"
            raise RecipeError(f"{Location('.'.join(here), child.marks.get(key))}: {problem}")
        else:
            out[key] = None
    return out


def _dropped(base: Keys, child: Keys, path: Path) -> tuple[str, ...]:
    """Keys of the base that belong to another plugin or name."""
    annotation = annotation_at(path)
    identity = identity_key(annotation)
    if identity is None or child.get(identity) is None:
        return ()
    old = base.get(identity, getattr(annotation, identity, None))  # a field's default is an attribute of its class
    if old is None or old == child[identity]:
        return ()
    return ("level", "weight") if identity == "source" else ("args",)
