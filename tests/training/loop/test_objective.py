"""Losses where they are attached: weights, lists, unknown targets, names that would clash."""

import pytest
import torch
from small_system import write_recipe

from toolkit.contracts import ModelOutput
from toolkit.errors import RecipeError
from toolkit.model.system import build_system
from toolkit.training.loop.objective import build_objective
from toolkit.training.preparation import load_source, prepare

COUNTS = {"label": [4, 4], "gender": [4, 4]}


@pytest.fixture
def build(tmp_path):
    """Build the small system's objective with other losses."""
    recipe = write_recipe(tmp_path)
    text = recipe.read_text()

    def make(losses: str):
        start, end = text.index("  losses:"), text.index("predict_from")
        recipe.write_text(text[:start] + f"  losses:\n{losses}\n" + text[end:])
        preparation = prepare(load_source(recipe))
        system = build_system(preparation.source.recipe, preparation.targets)
        return build_objective(preparation.source.recipe, system, COUNTS)

    return make


def output(batch: int) -> ModelOutput:
    embeddings = {"fused": torch.ones(batch, 8), "mfcc": torch.ones(batch, 8)}
    return ModelOutput(embeddings, {name: torch.zeros(batch, 2) for name in ("emotion", "level")})


def test_the_sum_is_weighted(build):
    objective = build(
        "    ce: {plugin: cross_entropy, on: '*', weight: 2.0}\n    pull: {plugin: center, on: fused, weight: 0.5}"
    )
    # log 2 at each of two heads; half the squared distance of eight ones to a center of zeros is 4
    loss = objective(output(3), {"label": torch.tensor([0, 1, 1])})
    assert float(loss) == pytest.approx(2 * 2 * 0.693147 + 0.5 * 4.0, abs=1e-5)


def test_rows_whose_target_is_unknown_do_not_count(build):
    objective = build("    ce: {plugin: cross_entropy, on: emotion}\n    pull: {plugin: center, on: [fused, mfcc]}")
    parts = objective.parts(output(2), {"label": torch.tensor([-1, 1])})
    assert set(parts) == {"ce", "pull-fused", "pull-mfcc"}
    assert float(parts["ce"]) == pytest.approx(0.693147, abs=1e-5)
    assert objective.parts(output(2), {"label": torch.tensor([-1, -1])}) == {}


def test_the_mean_of_the_ranks_values_is_the_value_of_all_rows(build, monkeypatch):
    """Weights of classes, a sum, a rank without a known row: each rank has its rows and all ranks' targets."""
    monkeypatch.setattr("toolkit.training.loop.objective.ranks", lambda: 2)
    objective = build(
        "    ce: {plugin: cross_entropy, on: emotion, args: {class_weights: [1.0, 3.0]}}\n"
        "    sum: {plugin: center, on: fused, args: {reduction: sum}}\n"
        "    mean: {plugin: center, on: mfcc, target: gender}"
    )
    values = {name: torch.arange(5.0)[:, None].expand(5, size) for name, size in (("fused", 8), ("mfcc", 8))}
    logits = torch.arange(10.0).reshape(5, 2).cos()
    targets = {"label": torch.tensor([0, 1, 1, 0, 1]), "gender": torch.tensor([0, -1, 1, -1, 0])}

    def parts(rows, whole=None):
        output = ModelOutput({name: v[rows] for name, v in values.items()}, {"emotion": logits[rows]})
        return objective.parts(output, {name: classes[rows] for name, classes in targets.items()}, whole)

    alone = parts(slice(None))
    by_rank = [parts(slice(rank, None, 2), targets) for rank in range(2)]
    assert float(by_rank[1]["mean"]) == 0.0  # rows 1 and 3: no known gender
    for name, value in alone.items():
        assert float(sum(values[name] for values in by_rank) / 2) == pytest.approx(float(value), rel=1e-6), name
    unknown = {"label": targets["label"], "gender": torch.full((5,), -1)}
    assert set(parts(slice(1, None, 2), unknown)) == {"ce", "sum"}


def test_a_loss_on_a_target_that_no_head_predicts_has_its_classes(build):
    objective = build(
        "    ce: {plugin: cross_entropy, on: emotion}\n    pull: {plugin: center, on: fused, target: gender}"
    )
    assert objective.losses["pull"].centers.shape == (2, 8)


def test_two_losses_of_one_name_are_refused(build):
    with pytest.raises(RecipeError, match="two losses would be called 'c-mfcc'"):
        build(
            "    ce: {plugin: cross_entropy, on: emotion}\n    c: {plugin: center, on: [fused, mfcc]}\n"
            "    c-mfcc: {plugin: center, on: mfcc}"
        )


def test_a_loss_on_logits_needs_a_head(build):
    with pytest.raises(
        RecipeError, match=r"model\.losses\.ce\.on in small\.yaml, line 14: 'cross_entropy' reads a head"
    ):
        build("    own: {plugin: cross_entropy, on: emotion}\n    ce: {plugin: cross_entropy, on: fused}")


def test_an_answer_that_nothing_trains_is_refused(build):
    with pytest.raises(RecipeError, match=r"predict_from .*names 'emotion', and no loss"):
        build("    ce: {plugin: cross_entropy, on: level}")
