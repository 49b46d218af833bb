"""A small system that was trained for real, as a Model, for the tests of prediction."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from small_system import write_recipe

from toolkit.inference.bundle.config import Usage
from toolkit.inference.predict.model import Model
from toolkit.model.system import System, build_system
from toolkit.training.preparation import Preparation, load_source, prepare

if TYPE_CHECKING:
    from toolkit.training.run import Run


def train(folder: Path) -> "Run":
    """Train the small system in a folder; its run, with the weights of the best epoch."""
    from toolkit.training.run import Run  # SpeechBrain takes seconds, and most tests need none

    run = Run(prepare(load_source(write_recipe(folder), ["--training.epochs=2"])), say=lambda line: None)
    run.train()
    return run


def predictions_by_fold(recipe: Path, output: Path, folds: str, *overrides: str) -> dict[str, bytes]:
    """Train folds here, with one thread: the name of each run, without its hash -> its predictions.csv."""
    from toolkit.training.run import Run

    threads, found = torch.get_num_threads(), {}
    torch.set_num_threads(1)
    for fold in folds.split(","):
        source = load_source(recipe, [f"--output_folder={output}", f"--fold={fold}", *overrides])
        run = Run(prepare(source), say=lambda line: None).train().parent
        found[run.name.rpartition("-")[0]] = (run / "predictions.csv").read_bytes()
    torch.set_num_threads(threads)
    return found


def random_system(folder: Path, covariate: str = "", **usage) -> tuple[System, Usage]:
    """The small system with random weights, perhaps with a covariate `gender`; the same for the same arguments."""
    recipe = write_recipe(folder)
    if covariate:
        text = recipe.read_text()
        recipe.write_text(text.replace("  fusion:", f"  covariates: {{gender: {covariate}}}\n  fusion:"))
    preparation = prepare(load_source(recipe))
    torch.manual_seed(0)
    return build_system(preparation.source.recipe, preparation.targets), usage_of(preparation, **usage)


def random_model(folder: Path, covariate: str = "", **usage) -> Model:
    """The same as a Model."""
    return Model(*random_system(folder, covariate, **usage), device="cpu")


def usage_of(preparation: Preparation, **replaced) -> Usage:
    """What has to be known to use a system of this preparation."""
    recipe = preparation.source.recipe
    known = {
        "labels": preparation.targets["label"].classes,
        "audio": recipe.audio,
        "predict_from": recipe.predict_from,
        "covariates": {
            name: preparation.targets[name].classes
            for name, spec in recipe.model.covariates.items()
            if spec.source != "predicted"
        },
        "stamps": preparation.stamps,
    }
    return Usage(**{**known, **replaced})
