"""Values of a recipe from the command line: `--model.fusion.args.dim 64`, `--training.epochs=3`.

Keys are written in full; one that the recipe cannot hold is refused with the nearest one that it can. Values are YAML
under the same rules as in files; where text is wanted (a folder, a fold) they are taken as they are written.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_origin

from toolkit.errors import RecipeError, nearest
from toolkit.recipe.checks import members
from toolkit.recipe.locations import COMMAND_LINE, Keys
from toolkit.recipe.reading import FILE_KEYS, annotation_at, known_paths, spelled_out
from toolkit.recipe.yaml_files import read_text

SHORT = {"device": "training.device", "precision": "training.precision"}
PARTS = (("model", "levels"), ("model", "heads"), ("model", "losses"))  # new ones come from a file that `extends`


def _pairs(tokens: Iterable[str]) -> list[tuple[str, str]]:
    """What a command line holds as (dotted key, text of the value)."""
    pairs, rest = [], list(tokens)
    while rest:
        token = rest.pop(0)
        if not token.startswith("--") or token == "--":
            hint = f" Write --{token}." if "=" in token and not token.startswith("-") else ""
            raise RecipeError(f"{token!r} belongs to no option.{hint} Options are written --key VALUE or --key=VALUE.")
        key, equals, text = token[2:].partition("=")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise RecipeError(f"--{key} has no value. Write --{key} VALUE, or null for none.")
            text = rest.pop(0)
        pairs.append((key, text))
    return pairs


def override_tree(tokens: Iterable[str], tree: Keys, *, folder: Path, trust: bool = False) -> Keys:
    """Overrides as a tree to merge onto a recipe's; the last of several values for one key holds.

    Args:
        tokens: of the command line.
        tree: the recipe they change; which levels, heads and losses there are is read from it.
        folder: where included files are looked for.
        trust: whether tags that run code are allowed.

    Raises:
        RecipeError: for an unknown key, a missing value, or a value that is not YAML.
    """
    out = Keys()
    for key, text in _pairs(tokens):
        path = tuple(SHORT.get(key, key).split("."))
        if path[0] in FILE_KEYS:
            raise RecipeError(f"--{key}: {path[0]} can only be used in recipe files.")
        in_part = path[:2] in PARTS and len(path) > 2
        if annotation_at(path) is None or (in_part and ".".join(path[:3]) not in known_paths(tree)):
            paths = list(known_paths(tree))
            ends = {path.rpartition(".")[2]: path for path in reversed(paths)}
            last = key.rpartition(".")[2].replace("-", "_")  # perhaps the right last word at the wrong depth
            near = nearest(key, paths) or ends.get(nearest(last, ends) or "")
            raise RecipeError(f"--{key}: a recipe has no such key." + (f" Did you mean {near!r}?" if near else ""))
        value = spelled_out(_value(path, text, folder, trust), annotation_at(path), COMMAND_LINE)
        for part in reversed(path):
            value = Keys({part: value}, {part: COMMAND_LINE})
        _update(out, value)
    return out


def _value(path: tuple[str, ...], text: str, folder: Path, trust: bool) -> Any:
    key = ".".join(path)
    if not text.strip():
        raise RecipeError(f"--{key} has no value. Write --{key} VALUE, null for none, or '\"\"' for empty text.")
    kinds = members(annotation_at(path))
    text_is_wanted = str in kinds and not any(get_origin(kind) for kind in kinds)
    if text_is_wanted and not re.match(r"\s*[!'\"]|\s*(null|~)\s*$", text, re.IGNORECASE):
        return text
    try:
        return read_text(text, folder=folder, trust=trust)
    except RecipeError as error:
        raise RecipeError(f"--{key} {error}") from None


def _update(out: Keys, changes: Keys) -> None:
    """Put the changes on top; null stays, since what it removes is elsewhere."""
    for key, value in changes.items():
        out.marks[key] = changes.marks[key]
        if isinstance(value, Keys) and isinstance(out.get(key), Keys):
            _update(out[key], value)
        else:
            out[key] = value
