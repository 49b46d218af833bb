"""The space of a search: the keys in its file as Optuna's distributions, and a trial's settings as keys and text."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial

from toolkit.errors import RecipeError, ToolkitError, one_line
from toolkit.plugins.kinds import parts
from toolkit.plugins.registry import find_part
from toolkit.recipe.checks import check_value, members, require_known
from toolkit.recipe.locations import COMMAND_LINE, Location
from toolkit.recipe.reading import annotation_at
from toolkit.recipe.schema import Recipe
from toolkit.recipe.yaml_files import read_yaml
from toolkit.training.preparation import Source, prepare_folds

SEARCHED = ("audio", "model", "augmentations", "training")  # a recipe's other keys are the task, not the system
ReadRecipe = Callable[[Mapping[str, Any]], Source]  # gives the recipe with the values of some dotted keys replaced


def read_space(path: Path, read: ReadRecipe) -> dict[str, BaseDistribution]:
    """The distribution of each key in a search's file; choices are JSON texts.

    Raises: RecipeError for the first key that the recipe does not have, or whose bounds or choices it cannot hold.
    """
    if not (keys := read_yaml(path)):
        raise RecipeError(f"{path} names no key that is searched, such as training.batch_size: [16, 32].")
    build = None if all(key.startswith("training.") for key in keys) else _builder(read({}))
    space = {}
    for key, value in keys.items():
        try:
            space[key] = _distribution(key, value, read, build)
        except (ToolkitError, ValueError, TypeError, KeyError) as error:
            text = f"{error} is missing" if isinstance(error, KeyError) else one_line(str(error))
            text = text.replace(f" {COMMAND_LINE}", "").removeprefix("--").removeprefix(f"{key}: ")
            raise RecipeError(f"{Location(key, keys.marks[key])}: {text}") from None
    return space


def _distribution(key: str, value: Any, read: ReadRecipe, build: Callable[[Recipe], None] | None) -> BaseDistribution:
    require_known("it", [key.partition(".")[0]], SEARCHED, "part of a recipe that can be searched")
    tried = _values_to_try(value)
    for one in tried:
        recipe = read({key: one}).recipe
        for kind, _, part in parts(recipe):
            find_part(kind.name, part).check_args(part.args)
        if build:
            build(recipe)
    if isinstance(value, list):
        return CategoricalDistribution([json.dumps(choice) for choice in value])
    takes_real = float in members(annotation_at(tuple(key.split("."))))
    whole = not takes_real and all(type(one) is int for one in tried)
    return (IntDistribution if whole else FloatDistribution)(**value)


def _builder(source: Source) -> Callable[[Recipe], None] | None:
    """Return a function that builds a recipe's system and augmentations; None if the searched one cannot be built."""
    from toolkit.data.augmentation import build_augmentations
    from toolkit.model.allowance import Allowance
    from toolkit.model.system import build_system

    targets = prepare_folds(source)[0].targets

    def build(recipe: Recipe) -> None:
        build_system(recipe, targets, allowance=Allowance(draw=False))
        build_augmentations(recipe)

    try:
        build(source.recipe)
    except ToolkitError:  # such as weights that only the workers have
        return None
    return build


def _values_to_try(value: Any) -> Sequence[Any]:
    """All choices of a list, or the ends of a range and its first step."""
    if isinstance(value, list):
        return value
    if not isinstance(value, Mapping):
        raise RecipeError("a list of choices, or a range such as {low: 1, high: 8}, is needed.")
    require_known("it", value, ("low", "high", "log", "step"), "key of a range")
    check_value(value.get("log", False), bool)
    low, high = value["low"], value["high"]
    return [low, high, low + value["step"]] if "step" in value else [low, high]


def settings_of(trial: BaseTrial) -> dict[str, Any]:
    """A trial's values by key."""
    return {key: json.loads(value) if isinstance(value, str) else value for key, value in trial.params.items()}


def setting_text(value: Any) -> str:
    """A setting as text, for a line or a table."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
