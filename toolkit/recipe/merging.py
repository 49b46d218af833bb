"""Deep merge of recipes: `extends`, `without_data` and overrides.

- Mappings are merged key by key; all else, lists too, is replaced.
- `null` removes an inherited key. Where null is itself a value (`fold`, `training.max_grad_norm`, the entries of
  `label_map`), it sets null. Where nothing is inherited it stays as it is.
- A changed `plugin` drops the inherited `args`, and so does a changed name of a protocol; a changed `source` of a
  covariate drops the inherited `level` and `weight`.
"""

from collections.abc import Callable
from typing import Any

from toolkit.errors import RecipeError, did_you_mean
from toolkit.recipe.locations import Keys

Path = tuple[str, ...]
NAMED = tuple(("model", family) for family in ("levels", "covariates", "heads", "losses"))


def merge(base: Keys, child: Keys, *, null_is_value: Callable[[Path], bool], path: Path = ()) -> Keys:
    """The child's keys on top of the base's.

    Args:
        base: what is inherited; left as it is.
        child: what differs; left as it is.
        null_is_value: whether null at a path is a value and does not remove.
        path: where the two stand in the recipe.

    Returns:
        A new mapping, the base's keys first; each key remembers the file that had the last word.

    Raises:
        RecipeError: if null would remove a level, covariate, head or loss that is not there.
    """
    out = Keys(base, {**base.marks, **child.marks})
    for dependent in _dropped(base, child, path):
        out.pop(dependent, None)
    for key, value in child.items():
        here = (*path, key)
        if value is None and not null_is_value(here):
            _remove(out, key, path, child)
        elif isinstance(value, Keys):
            inherited = out.get(key)
            out[key] = merge(
                inherited if isinstance(inherited, Keys) else Keys(), value, null_is_value=null_is_value, path=here
            )
        else:
            out[key] = value
    return out


def _remove(out: Keys, key: str, path: Path, child: Keys) -> None:
    if key in out:
        del out[key]
    elif path in NAMED:
        raise RecipeError(
            f"{'.'.join((*path, key))} {child.marks.get(key, '')}: null removes, but nothing of this name is "
            f"inherited.{did_you_mean(key, out)}"
        )
    else:
        out[key] = None


def _dropped(base: Keys, child: Keys, path: Path) -> tuple[str, ...]:
    """Keys of the base that mean nothing any more."""
    if path[:2] == ("model", "covariates") and len(path) == 3:
        identity, dependents = "source", ("level", "weight")
    elif path == ("protocol",):
        identity, dependents = "name", ("args",)
    elif path in (("corpus",), ("model", "fusion")) or (path[:2] in NAMED and len(path) == 3):
        identity, dependents = "plugin", ("args",)
    else:
        return ()
    return dependents if _changes(base.get(identity), child.get(identity)) else ()


def _changes(old: Any, new: Any) -> bool:
    return old is not None and new is not None and old != new
