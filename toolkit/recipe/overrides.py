"""Values of a recipe from the command line: `--model.fusion.args.dim 64`, `--training.epochs=3`.

Keys are written in full; one that the recipe cannot hold is refused with the nearest one that it can. Values are YAML
under the same rules as in files; where text is wanted (a folder, a fold) they are taken as they are written.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from toolkit.errors import RecipeError, nearest
from toolkit.recipe.locations import COMMAND_LINE, Keys
from toolkit.recipe.reading import FILE_KEYS, annotation_at, check_keys, known_paths, spelled_out, text_is_wanted
from toolkit.recipe.yaml_files import read_text

SHORT = {"device": "training.device", "precision": "training.precision"}
PARTS = (("model", "levels"), ("model", "heads"), ("model", "losses"))  # new ones come from a file that `extends`


def parse_tokens(tokens: Iterable[str]) -> list[tuple[str, str]]:
    """Split what a command line holds into (dotted key, text of the value).

    >>> parse_tokens(["--training.epochs=3", "--model.fusion.args.dim", "64"])
    [('training.epochs', '3'), ('model.fusion.args.dim', '64')]

    Raises:
        RecipeError: for a value without a key or a key without a value.
    """
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
    """Overrides as a tree to merge onto a recipe's.

    Args:
        tokens: of the command line.
        tree: the recipe they change; which levels, heads and losses there are is read from it.
        folder: where included files are looked for.
        trust: whether tags that run code are allowed.

    Returns:
        The tree; the last of several values for one key holds.

    Raises:
        RecipeError: for an unknown key, a missing value, or a value that is not YAML.
    """
    out = Keys()
    for key, text in parse_tokens(tokens):
        path = tuple(SHORT.get(key, key).split("."))
        if path[0] in FILE_KEYS:
            raise RecipeError(f"--{key}: {path[0]} can only be used in recipe files.")
        in_part = path[:2] in PARTS and len(path) > 2
        if annotation_at(path) is None or (in_part and ".".join(path[:3]) not in known_paths(tree)):
            raise _unknown(key, tree)
        _put(out, path, spelled_out(_value(path, text, folder, trust), annotation_at(path), COMMAND_LINE))
    check_keys(out)
    return out


def _value(path: tuple[str, ...], text: str, folder: Path, trust: bool) -> Any:
    key = ".".join(path)
    if not text.strip():
        raise RecipeError(f"--{key} has no value. Write --{key} VALUE, null for none, or '\"\"' for empty text.")
    if text_is_wanted(path) and not re.match(r"\s*[!'\"]|\s*(null|~)\s*$", text, re.IGNORECASE):
        return text
    try:
        return read_text(text, folder=folder, trust=trust)
    except RecipeError as error:
        raise RecipeError(f"--{key} {error}") from None


def _unknown(key: str, tree: Keys) -> RecipeError:
    paths = list(known_paths(tree))
    ends = {path.rpartition(".")[2]: path for path in reversed(paths)}
    last = key.rpartition(".")[2].replace("-", "_")  # perhaps the right last word at the wrong depth
    near = nearest(key, paths) or ends.get(nearest(last, ends) or "")
    hint = f" Did you mean {near!r}?" if near else ""
    return RecipeError(f"--{key}: a recipe has no such key.{hint}")


def _put(out: Keys, path: tuple[str, ...], value: Any) -> None:
    *parents, last = path
    for part in parents:
        out.marks[part] = COMMAND_LINE
        if not isinstance(out.get(part), Keys):
            out[part] = Keys()
        out = out[part]
    out.marks[last] = COMMAND_LINE
    if isinstance(value, Keys) and isinstance(out.get(last), Keys):
        for key, inner in value.items():
            _put(out[last], (key,), inner)
    else:
        out[last] = value
