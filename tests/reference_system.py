"""The reference system of recipes/iemocap, in small, with batches that no corpus is needed for."""

from pathlib import Path

import torch

from toolkit.contracts import Seq
from toolkit.learner import Learner
from toolkit.model import build_system
from toolkit.objective import build_objective
from toolkit.recipe import load_recipe
from toolkit.seeding import seed_all
from toolkit.segments import Batch

RECIPES = Path(__file__).parents[1] / "recipes/iemocap/hparams"


def reference_learner(*overrides: str) -> Learner:
    """A Learner for mtl_cr.yaml as it is without data: random weights, few layers."""
    recipe = load_recipe(RECIPES / "mtl_cr.yaml", overrides, data_available=False)
    seed_all(1)
    system = build_system(recipe, {"label": recipe.labels})
    return Learner(system, build_objective(recipe, system, {"label": [5, 6, 7, 8]}))


def reference_batch(rows: int, *, seconds: float = 3.0) -> Batch:
    """Noise of whole segments."""
    samples = round(seconds * 16000)
    generator = torch.Generator().manual_seed(rows)
    return Batch(
        wave=Seq(torch.randn(rows, samples, generator=generator), torch.full((rows,), samples), full=True),
        targets={"label": torch.arange(rows) % 4},
        covariates={},
        utterances=torch.arange(rows),
        weights=torch.ones(rows),
    )
