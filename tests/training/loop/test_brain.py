"""A training step: one clipping over all groups, accumulation, skipped steps, rates by group."""

from dataclasses import replace
from math import nan

import pytest
import torch
from small_system import write_recipe
from speechbrain import Stage

from toolkit.data.batches import seed_all
from toolkit.errors import ToolkitError
from toolkit.model.system import build_system
from toolkit.training.loop.brain import READ_EVERY, SKIPS_IN_A_ROW, SystemBrain
from toolkit.training.loop.objective import build_objective
from toolkit.training.preparation import load_source, prepare
from toolkit.training.run_data import RunData


@pytest.fixture
def make_brain(tmp_path):
    """Build the brain of the small system with some training settings; returns it with its data."""
    recipe = write_recipe(tmp_path)

    def make(*overrides: str) -> tuple[SystemBrain, RunData]:
        preparation = prepare(load_source(recipe, list(overrides)))
        seed_all(1)
        system = build_system(preparation.source.recipe, preparation.targets)
        data = RunData(preparation, fixed_samples=system.fixed_samples)
        brain = SystemBrain(
            system,
            build_objective(preparation.source.recipe, system, data.class_counts()),
            training=replace(preparation.source.recipe.training, device="cpu"),
            sampler=data.training_batches(),
            rules=("valid",),
            folder=tmp_path / "checkpoints",
            targets={},
            metrics=data.metrics,
            on_epoch=lambda history: None,
        )
        brain.init_optimizers()
        return brain, data

    return make


def batch_of(data: RunData, count: int):
    return data.train.collate([data.train[index] for index in range(count)])


def weights(brain: SystemBrain) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in brain.modules.parameters()]


def fit(brain: SystemBrain, batch) -> float:
    brain.modules.train()
    brain.step += 1
    return float(brain.fit_batch(batch))


def test_one_clipping_covers_all_groups(make_brain):
    brain, data = make_brain("--training.max_grad_norm=0.001", "--training.optimizer.name=sgd")
    brain.optimizers_dict["optimizer-sgd"].zero_grad = lambda set_to_none: None  # keep the clipped gradients to look at
    fit(brain, batch_of(data, 8))
    groups = brain.optimizer_groups
    assert len(groups) == 3  # mfcc, fusion, heads
    norms = [sum(p.grad.square().sum() for p in group["params"]) for group in groups]
    assert float(sum(norms)) ** 0.5 == pytest.approx(0.001, rel=1e-3)
    assert all(norm > 0 for norm in norms)


def test_groups_have_their_own_rates_and_warm_up_keeps_the_ratios(make_brain):
    brain, data = make_brain("--training.groups.mfcc={learning_rate: 0.001}", "--training.warmup_steps=4")
    fit(brain, batch_of(data, 4))
    assert [group["lr"] for group in brain.optimizer_groups] == pytest.approx([0.001 / 4, 0.01 / 4, 0.01 / 4])
    fit(brain, batch_of(data, 4))
    assert [group["lr"] for group in brain.optimizer_groups] == pytest.approx([0.001 / 2, 0.01 / 2, 0.01 / 2])


def test_accumulated_batches_give_the_gradient_of_their_mean(make_brain):
    settings = ("--training.optimizer.name=sgd", "--training.max_grad_norm=null", "--model.fusion.args.dropout=0")
    settings += ("--model.heads.emotion.args.dropout=0", "--model.losses.center.weight=0")
    whole, data = make_brain(*settings)
    fit(whole, batch_of(data, 8))
    halves, data = make_brain(*settings, "--training.accumulate=2")
    items = [data.train[index] for index in range(8)]
    fit(halves, data.train.collate(items[:4]))
    assert halves.optimizer_step == 0
    fit(halves, data.train.collate(items[4:]))
    assert halves.optimizer_step == 1
    for one, other in zip(weights(whole), weights(halves), strict=True):
        assert torch.allclose(one, other, atol=1e-7)


def test_the_last_batches_of_an_epoch_are_stepped_on_too(make_brain):
    brain, data = make_brain("--training.accumulate=2")  # 10 segments in batches of 4: 3 batches
    scaled, scale = [], brain.scaler.scale
    brain.scaler.scale = lambda loss: scaled.append(loss.item()) or scale(loss)
    losses = [fit(brain, batch_of(data, 4)) for _ in range(3)]
    assert brain.optimizer_step == 2
    assert scaled == pytest.approx([losses[0] / 2, losses[1] / 2, losses[2]])


def test_a_step_that_is_not_finite_is_skipped_counted_and_leaves_everything_as_it_was(make_brain):
    brain, data = make_brain()
    fit(brain, batch_of(data, 4))
    before, centers = weights(brain), brain.objective.state_dict()
    centers = {name: value.clone() for name, value in centers.items()}
    bad = batch_of(data, 4)
    bad.inputs.values[0, 100] = float("nan")
    fit(brain, bad)
    brain.read_log()
    assert brain.history.skipped_steps == 1
    assert all(torch.equal(a, b) for a, b in zip(before, weights(brain), strict=True))
    assert all(torch.equal(value, centers[name]) for name, value in brain.objective.state_dict().items())
    fit(brain, batch_of(data, 4))
    assert not all(torch.equal(a, b) for a, b in zip(before, weights(brain), strict=True))
    assert all(torch.isfinite(value).all() for value in brain.objective.state_dict().values())


def test_a_training_that_only_skips_gives_up_with_what_to_do(make_brain):
    brain, data = make_brain()
    bad = batch_of(data, 4)
    bad.inputs.values[0, 100] = float("nan")
    with pytest.raises(ToolkitError, match=rf"{SKIPS_IN_A_ROW} optimizer steps in a row .*Lower training.optimizer"):
        for _ in range(SKIPS_IN_A_ROW):
            fit(brain, bad)
        brain.read_log()


def test_losses_without_a_gradient_are_named(make_brain):
    brain, data = make_brain()
    for loss in brain.objective.losses.values():
        loss.of_shares = lambda inputs, targets, share: inputs.mean().detach()
    with pytest.raises(ToolkitError, match=r"^No gradient .* \('classification-emotion', .* and 'center'\)") as error:
        fit(brain, batch_of(data, 4))
    assert "\n" not in str(error.value)


def test_losses_are_read_together_and_their_mean_is_that_of_the_epoch(make_brain):
    brain, _ = make_brain()
    for brain.step in range(1, READ_EVERY + 1):
        assert brain.avg_train_loss == 0.0
        brain.avg_train_loss = brain.update_average(torch.tensor(float(brain.step)), brain.avg_train_loss)
    assert brain.avg_train_loss == pytest.approx((READ_EVERY + 1) / 2)
    assert not brain.unread_losses


@pytest.mark.parametrize(("losses", "mean"), [([nan, 2.0, 2.0], 2.0), ([1.0, nan, 4.0], 2.0), ([nan, nan], None)])
def test_a_loss_that_is_not_finite_counts_as_the_mean_of_the_others(make_brain, losses, mean):
    brain, _ = make_brain()
    brain.on_stage_start(Stage.TRAIN, epoch=1)
    for brain.step, loss in enumerate(losses, start=1):
        brain.avg_train_loss = brain.update_average(torch.tensor(loss), brain.avg_train_loss)
    brain.on_stage_end(Stage.TRAIN, brain.avg_train_loss, epoch=1)
    assert brain.train_loss == (mean and pytest.approx(mean))


def test_a_training_that_has_run_out_of_patience_resumes_in_no_epoch(make_brain):
    options = ("--training.patience=1", "--training.min_epochs=0")
    brain, _ = make_brain(*options)
    brain.history.rows = [{"valid_wa": 0.9, "valid_ua": 0.9}, {"valid_wa": 0.5, "valid_ua": 0.5}]
    brain.history.threads = 1
    brain.checkpointer.save({})
    resumed, _ = make_brain(*options)
    resumed.say = pytest.fail
    resumed.on_fit_start()
    assert resumed.history.finished


def test_frozen_parameters_are_in_no_group_and_the_others_in_one(make_brain):
    brain, _ = make_brain()
    brain.system.levels["mfcc"].requires_grad_(False)
    brain.init_optimizers()
    fusion, heads = (group["params"] for group in brain.optimizer_groups)
    assert {*map(id, fusion)} <= {*map(id, brain.system.fusion.parameters())}
    assert {id(p) for p in [*fusion, *heads]} == {id(p) for p in brain.modules.parameters() if p.requires_grad}
