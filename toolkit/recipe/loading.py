"""YAML files and overrides -> a checked, resolved recipe, which is complete, extends nothing and reads back the same.

`toolkit.recipe.reading` has the rules of merging. Overrides are YAML under the same rules as files; where text is
expected (a folder, a fold), they are taken literally. If a key has several values, the last one counts.
"""

import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from os.path import isdir, isfile
from pathlib import Path
from typing import Any, get_origin

from ruamel.yaml import YAML

from toolkit.errors import RecipeError, nearest
from toolkit.files import resolved
from toolkit.recipe.checks import COMMAND_LINE, Keys, Location, Mark, members
from toolkit.recipe.reading import annotation_at, defaults, known_paths, merge, read_plain, spelled_out
from toolkit.recipe.schema import Recipe
from toolkit.recipe.yaml_files import read_value, read_yaml, resolve

PARTS = (("model", "levels"), ("model", "heads"), ("model", "losses"))  # overrides cannot add entries here
SHORT = {name: f"training.{name}" for name in ("device", "precision", "init_from")}


def load_recipe(
    path: str | Path,  # looked for as `find_recipe` does
    overrides: Iterable[str] = (),  # command-line tokens such as "--training.epochs=3"
    *,
    data_available: bool = True,  # False merges each file's `without_data` onto the file's own keys
    trust: bool = False,  # run the tags that run code: only for files whose author you trust
    search_folder: Path | None = None,  # where to look first, such as the folder of a recipe's train.py
) -> Recipe:
    """Read a recipe with all files that it extends, and check it; its plugins are checked when they are built."""
    file = find_recipe(path, search_folder)
    tree = _load_tree(file, data_available, trust, ())
    tree = merge(tree, override_tree(overrides, tree, file.parent, trust))
    if tree.get("name") is None:
        tree["name"] = file.stem
    tree = resolve(tree)
    return read_plain(Recipe, tree, Location("", Mark(file.name), tree))


def find_recipe(name: str | Path, folder: Path | None = None) -> Path:
    """The file that a recipe's name means: in `folder`, in the working directory, or one of the toolkit's own."""
    candidates = [Path(folder or "") / name, Path(name)]
    found = next(filter(isfile, candidates), None) or shipped_recipes().get(str(name))
    if found is None:
        looked = " and ".join(dict.fromkeys(str(candidate.absolute().parent) for candidate in candidates))
        is_folder = any(map(isdir, candidates))
        problem = f"{name} is a folder, not a recipe" if is_folder else f"No recipe {Path(name).name} in {looked}"
        raise RecipeError(f"{problem}.{_nearby(candidates)}")
    return found


@cache
def shipped_recipes() -> dict[str, Path]:
    """The recipes that come with the toolkit, name -> file: speech/whisper is recipes/speech/hparams/whisper.yaml."""
    beside = [Path(__file__).parents[2] / name for name in ("toolkit_recipes", "recipes")]  # wheel, repository
    files = next((sorted(folder.glob("*/hparams/*.yaml")) for folder in beside if isdir(folder)), ())
    return {f"{file.parts[-3]}/{file.stem}": file for file in files}


def dump_yaml(values: Mapping[str, Any]) -> str:
    """Plain values, such as a recipe's `as_dict`, as YAML in their order; `load_recipe` reads the same recipe."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.width = 10_000
    yaml.representer.sort_base_mapping_type_on_output = False  # levels are fused in the recipe's order
    text = io.StringIO()
    yaml.dump(dict(values), text)
    return text.getvalue()


def read_recipe_dict(values: Mapping[str, Any], *, source: str = "recipe") -> Recipe:
    """A recipe from the values of `as_dict` (in an experiment's JSON, for example); `source` names it in messages."""
    return read_plain(Recipe, values, Location("", Mark(source)))


def as_overrides(values: Mapping[str, Any]) -> list[str]:
    """Dotted keys and their values (numpy's numbers too) as on a command line: --training.epochs=3, --fold="1M"."""
    how = {"ensure_ascii": False, "default": lambda value: value.tolist() if hasattr(value, "tolist") else str(value)}
    return [f"--{key}={json.dumps(value, **how)}" for key, value in values.items()]


def _load_tree(path: Path, data_available: bool, trust: bool, extending: tuple[Path, ...]) -> Keys:
    file = resolved(path)
    if file in extending:
        chain = " -> ".join(p.name for p in (*extending, file))
        raise RecipeError(f"{path.name}: recipes extend each other in a circle: {chain}.")
    tree = read_yaml(path, at=(), trust=trust)
    base_name, without_data = tree.pop("extends", None), tree.pop("without_data", None)
    inherited = defaults()
    if base_name is not None:
        where = f"extends {tree.marks['extends']}"
        if not isinstance(base_name, str):
            raise RecipeError(f"{where}: the name of one file is needed, relative to {path.name}.")
        beside = path.parent / base_name
        base = beside if isfile(beside) else shipped_recipes().get(base_name)
        if base is None:
            raise RecipeError(f"{where}: no file {base_name} beside {path.name}.{_nearby([beside])}")
        inherited = _load_tree(base, data_available, trust, (*extending, file))
        for of_one_system in ("name", "published"):
            inherited.pop(of_one_system, None)
    tree = merge(inherited, tree)
    if data_available or without_data is None:
        return tree
    if not isinstance(without_data, Keys):
        raise RecipeError(f"without_data {tree.marks['without_data']}: a mapping is needed.")
    return merge(tree, without_data)


def _nearby(missing: Iterable[Path]) -> str:
    """A hint: the recipe whose name is nearest to that of missing files, or where names are listed."""
    known = {key: full for full in shipped_recipes() for key in (full, full.split("/")[1])}
    for file in missing:
        for folder in (file.parent, file.parent / "hparams"):
            known |= {found.stem: str(found) for found in sorted(folder.glob("*.y*ml"))}
    best = nearest(str(file), known) or nearest(file.stem, known)
    return f" Did you mean {known[best]!r}?" if best else " `toolkit list-recipes` lists the toolkit's own."


def override_tree(tokens: Iterable[str], tree: Keys, folder: Path, trust: bool) -> Keys:
    """Overrides as a tree to merge onto `tree`, a recipe's, whose levels, heads and losses they can change."""
    out = Keys()
    for key, text in _pairs(tokens):
        path = tuple(SHORT.get(key, key).split("."))
        if annotation_at(path) is None or (path[:2] in PARTS and ".".join(path[:3]) not in known_paths(tree)):
            raise RecipeError(f"--{key}: a recipe has no such key.{_nearest_key(key, tree)}")
        value = spelled_out(_override_value(path, text, folder, trust), annotation_at(path), COMMAND_LINE)
        for part in reversed(path):
            value = Keys({part: value}, {part: COMMAND_LINE})
        _update(out, value)
    return out


def _nearest_key(key: str, tree: Keys) -> str:
    """A hint: the key with this last part or these initials, such as lr, else the nearest."""
    paths = list(known_paths(tree))
    last = key.rpartition(".")[2].replace("-", "_")
    ends = {path.rpartition(".")[2]: path for path in reversed(paths)}
    initials = {"".join(word[:1] for word in end.split("_")): path for end, path in ends.items() if "_" in end}
    near = initials.get(last) or ends.get(last) or nearest(key, paths) or ends.get(nearest(last, ends) or "")
    return f" Did you mean {near!r}?" if near else ""


def _pairs(tokens: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Command-line tokens as pairs: dotted key, text of the value."""
    rest = list(tokens)
    while rest:
        token = rest.pop(0)
        if not token.startswith("--") or token == "--":
            raise RecipeError(f"{token!r} belongs to no option. Options are written --key VALUE or --key=VALUE.")
        key, equals, text = token[2:].partition("=")
        if not equals:
            if rest and not rest[0].startswith("--"):
                text = rest.pop(0)
            elif bool in members(annotation_at(tuple(key.split(".")))):
                text = "true"
        yield key, text


def _override_value(path: tuple[str, ...], text: str, folder: Path, trust: bool) -> Any:
    key = ".".join(path)
    if not text.strip():
        raise RecipeError(f"--{key} has no value. Write --{key} VALUE, null for none, or '\"\"' for empty text.")
    kinds = members(annotation_at(path))
    text_is_wanted = str in kinds and not any(get_origin(kind) for kind in kinds)
    if text_is_wanted and not re.match(r"\s*[!'\"]|\s*(null|~)\s*$", text, re.IGNORECASE):
        return text
    try:
        return read_value(text, at=path, folder=folder, trust=trust)
    except RecipeError as error:
        raise RecipeError(f"--{key} {error}") from None


def _update(out: Keys, changes: Keys) -> None:
    """Merge the changes into `out`; null stays, since what it removes is in the recipe."""
    for key, value in changes.items():
        out.marks[key] = changes.marks[key]
        if isinstance(value, Keys) and isinstance(out.get(key), Keys):
            _update(out[key], value)
        else:
            out[key] = value
