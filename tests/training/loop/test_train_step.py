"""Which parameters a step may leave out, and running statistics that all ranks share."""

from pathlib import Path

import pytest
import torch
from several_ranks import on_ranks
from small_system import write_recipe
from torch import nn

from toolkit.model.system import build_system
from toolkit.training.loop.objective import build_objective
from toolkit.training.loop.train_step import Learner, SharedLearner, leaves_out_parameters
from toolkit.training.preparation import load_source, prepare
from toolkit.training.run_data import RunData


@pytest.fixture
def make_learner(tmp_path):
    """The small system with its objective, and a batch to call it with."""
    recipe = write_recipe(tmp_path)

    def make(*overrides: str):
        preparation = prepare(load_source(recipe, list(overrides)))
        system = build_system(preparation.source.recipe, preparation.targets)
        data = RunData(preparation, fixed_samples=system.fixed_samples)
        batch = data.train.collate([data.train[index] for index in range(3)])
        learner = Learner(system, build_objective(preparation.source.recipe, system, data.class_counts()))
        return learner, (batch, batch.targets)

    return make


def test_a_step_that_uses_all_parameters_leaves_none_out_and_is_not_remembered(make_learner):
    learner, batch = make_learner()
    learner.system.levels["mfcc"].eval()
    assert not leaves_out_parameters(learner, *batch)
    assert learner.training and learner.system.fusion.training and not learner.system.levels["mfcc"].training
    learner.objective.after_step(torch.tensor(True))
    assert not learner.objective.losses["center"].centers.any()  # the look at the batch moved nothing


def test_a_head_without_a_loss_is_left_out_and_a_frozen_one_is_not_missed(make_learner):
    learner, batch = make_learner("--model.losses.classification.on=emotion")
    assert leaves_out_parameters(learner, *batch)
    learner.system.heads["level"].requires_grad_(False)
    assert not leaves_out_parameters(learner, *batch)


def test_a_level_that_says_it_leaves_out_layers_is_believed(make_learner):
    learner, batch = make_learner()
    learner.system.levels["mfcc"].leaves_out = True
    assert leaves_out_parameters(learner, *batch)


def test_a_loss_with_parameters_may_get_no_row(make_learner):
    learner, batch = make_learner()
    learner.objective.losses["center"].scale = nn.Parameter(torch.ones(()))
    assert leaves_out_parameters(learner, *batch)


def average(folder: Path) -> None:
    """Rank 0 has seen rows around 0, rank 1 rows around 10; a layer in eval() mode has statistics of its own."""
    from toolkit.distributed import rank
    from toolkit.training.launch import together

    with together():
        moving, fixed = nn.BatchNorm1d(2, momentum=1.0), nn.BatchNorm1d(2).eval()
        fixed.running_mean.fill_(float(rank()))
        moving(torch.tensor([[-1.0, 0.0], [1.0, 2.0]]) + 10 * rank())
        SharedLearner(nn.ModuleList([moving, fixed]), sometimes_unknown=False).average_statistics()
        torch.save([moving.running_mean, moving.running_var, fixed.running_mean], folder / f"{rank()}.pt")


def test_running_statistics_are_averaged_over_the_ranks(tmp_path):
    assert on_ranks(average, tmp_path) == [0, 0]
    for rank in (0, 1):
        mean, variance, fixed = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert mean.tolist() == [5.0, 6.0]  # of 0 and 10, of 1 and 11
        assert variance.tolist() == [2.0, 2.0]
        assert fixed.tolist() == [float(rank)] * 2
