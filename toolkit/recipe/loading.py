"""YAML -> a checked, resolved recipe.

A recipe says only what differs: `extends: ser.yaml` merges onto another file (toolkit.recipe.reading has the rules),
and `without_data` holds the smaller settings that replace a file's own where there is no corpus. A resolved recipe
holds everything, extends nothing and reads the same.
"""

import io
from collections.abc import Iterable, Mapping
from os.path import isdir, isfile
from pathlib import Path
from typing import Any

from toolkit.errors import RecipeError, nearest, one_line
from toolkit.recipe.locations import Keys, Location, Mark
from toolkit.recipe.overrides import override_tree
from toolkit.recipe.reading import defaults, merge, read_plain
from toolkit.recipe.references import resolve
from toolkit.recipe.schema import Recipe
from toolkit.recipe.yaml_files import read_yaml

SUFFIXES = (".yaml", ".yml")
OF_ONE_SYSTEM = ("name", "published")  # what a file that extends another one does not inherit


def load_recipe(
    path: str | Path,
    overrides: Iterable[str] = (),
    *,
    data_available: bool = True,
    trust: bool = False,
    search_folder: Path | None = None,
) -> Recipe:
    """Read a recipe with all that it extends, and check it; its plugins are checked when they are built.

    Args:
        path: the recipe; looked for as `find_recipe` does.
        overrides: command-line tokens such as "--training.epochs=3".
        data_available: False merges each file's `without_data` onto the file's own keys.
        trust: run the tags that run code. Only for files whose author you trust.
        search_folder: where to look first, such as the folder of a recipe's train.py.

    Raises:
        RecipeError: for the first thing that is wrong, with its key and file.
    """
    found = find_recipe(path, search_folder)
    tree = _load_tree(found, data_available, trust, ())
    tree = merge(tree, override_tree(overrides, tree, folder=found.parent, trust=trust))
    tree.setdefault("name", found.stem)
    tree = resolve(merge(defaults(), tree))
    return read_plain(Recipe, tree, Location("", Mark(found.name), tree))


def find_recipe(name: str | Path, folder: Path | None = None) -> Path:
    """The file that a recipe's name means: in `folder`, else in the working directory; an absolute one as it is.

    Raises:
        RecipeError: if it is in neither, or is not a YAML file; names the nearest one.
    """
    name = Path(name)
    folders = [Path()] if folder is None else [Path(folder), Path()]
    candidates = list(dict.fromkeys(candidate / name for candidate in folders))  # an absolute name stays as it is
    for candidate in candidates:
        if isfile(candidate):
            if candidate.suffix not in SUFFIXES:
                raise RecipeError(f"{candidate} is not a recipe: those end in {' or '.join(SUFFIXES)}.")
            return candidate
    for candidate in candidates:
        if isdir(candidate):
            raise RecipeError(f"{candidate} is a folder; one recipe is needed.{_nearby(Path(), [candidate])}")
    looked = " and ".join(dict.fromkeys(str(candidate.absolute().parent) for candidate in candidates))
    raise RecipeError(f"No recipe {one_line(name.name)} in {one_line(looked)}.{_nearby(name, folders)}")


def dump_recipe(recipe: Recipe) -> str:
    """A recipe as YAML that needs no other file; `load_recipe` makes the same recipe of it."""
    from ruamel.yaml import YAML

    yaml, text = YAML(typ="safe", pure=True), io.StringIO()
    yaml.default_flow_style = False
    yaml.width = 10_000
    yaml.representer.sort_base_mapping_type_on_output = False  # levels are fused in the recipe's order
    yaml.dump(recipe.as_dict(), text)
    return text.getvalue()


def read_recipe_dict(values: Mapping[str, Any], *, source: str = "recipe") -> Recipe:
    """A recipe from what `as_dict` gave (an experiment's JSON, for example); `source` names it in messages."""
    return read_plain(Recipe, values, Location("", Mark(source)))


def _load_tree(path: Path, data_available: bool, trust: bool, extending: tuple[Path, ...]) -> Keys:
    resolved = path.resolve()
    if resolved in extending:
        chain = " -> ".join(p.name for p in (*extending, resolved))
        raise RecipeError(f"{path.name}: recipes extend each other in a circle: {chain}.")
    tree = read_yaml(path, trust=trust)
    base_name, without_data = tree.pop("extends", None), tree.pop("without_data", None)
    inherited = Keys()
    if base_name is not None:
        where = f"extends {tree.marks['extends']}"
        if not isinstance(base_name, str):
            raise RecipeError(f"{where}: the name of one file is needed, relative to {path.name}.")
        base = path.parent / base_name
        if not isfile(base):
            near = _nearby(Path(base_name), [path.parent])
            raise RecipeError(f"{where}: no file {one_line(base_name)} beside {path.name}.{near}")
        inherited = _load_tree(base, data_available, trust, (*extending, resolved))
        for own in OF_ONE_SYSTEM:
            inherited.pop(own, None)
    tree = merge(inherited, tree)
    if without_data is None:
        return tree
    if not isinstance(without_data, Keys):
        raise RecipeError(f"without_data {tree.marks['without_data']}: a mapping is needed.")
    small = merge(tree, without_data)  # its keys are checked with data, too
    return tree if data_available else small


def _nearby(name: Path, folders: list[Path]) -> str:
    """What is near: a file of that name elsewhere under the folders, a name like it, or all there is."""
    shown: dict[str, str] = {}
    for folder in folders:
        for near in (folder / name.parent, folder, folder / "hparams"):
            for file in sorted(near.glob("*.y*ml")) if isdir(near) else ():
                shown.setdefault(file.stem, str(file))
    if best := nearest(name.stem, shown):
        return f" Did you mean {shown[best]!r}?"
    return f" There are: {', '.join(sorted(shown.values()))}." if shown else " There is no recipe near."
