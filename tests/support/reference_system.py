"""The reference system of recipes/iemocap, in small, with batches that no corpus is needed for."""

from pathlib import Path

import torch

from toolkit.contracts import Seq
from toolkit.corpus.targets import Target
from toolkit.data.batches import EpochBatches, seed_all
from toolkit.data.segments import Batch
from toolkit.model.system import build_system
from toolkit.recipe.loading import load_recipe
from toolkit.recipe.schema import Recipe
from toolkit.training.loop.brain import SystemBrain
from toolkit.training.loop.objective import TrainStep, build_objective

RECIPES = Path(__file__).parents[2] / "recipes/iemocap/hparams"


def reference_recipe(*overrides: str) -> Recipe:
    """mtl_cr.yaml as it is without data: random weights, few layers."""
    return load_recipe(RECIPES / "mtl_cr.yaml", overrides, data_available=False)


def reference_step(*overrides: str) -> TrainStep:
    """A train step for it, always with the same weights."""
    recipe = reference_recipe(*overrides)
    seed_all(1)
    system = build_system(recipe, Target.by_name({"label": recipe.labels}))
    return TrainStep(system, build_objective(recipe, system, {"label": [5, 6, 7, 8]}))


def reference_batch(rows: int, *, seconds: float = 3.0) -> Batch:
    """Noise of whole segments."""
    samples = round(seconds * 16000)
    generator = torch.Generator().manual_seed(rows)
    return Batch(
        inputs=Seq(torch.randn(rows, samples, generator=generator), torch.full((rows,), samples), full=True),
        targets={"label": torch.arange(rows) % 4},
        covariates={},
        utterances=torch.arange(rows),
        weights=torch.ones(rows),
    )


def reference_brain(folder: Path, *overrides: str) -> SystemBrain:
    """The training loop for it, ready for a step."""
    train_step, recipe = reference_step(*overrides), reference_recipe(*overrides)
    classes = torch.arange(10 * recipe.training.batch_size) % 4
    brain = SystemBrain(
        train_step.system,
        train_step.objective,
        training=recipe.training,
        sampler=EpochBatches(classes, batch_size=recipe.training.batch_size, seed=1, targets={"label": classes}),
        rules=("valid",),
        folder=folder,
        targets={},
        metrics=lambda scores: {},
        on_epoch=lambda history: None,
    )
    brain.init_optimizers()
    brain.modules.train()
    return brain
