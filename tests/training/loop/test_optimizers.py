"""A step that the device takes or skips; fused optimizers do it alike."""

import pytest
import torch
from torch import nn

from toolkit.recipe.training import OptimizerSpec, TrainingSpec
from toolkit.training.loop.optimizers import OPTIMIZERS, build_optimizers, step_where


def weights_after(kind: str, taken: list[bool], **options) -> tuple[torch.Tensor, torch.optim.Optimizer]:
    """Steps with the gradients 1, 2, ...; where one is skipped its gradient is not finite."""
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = OPTIMIZERS[kind]([weight], lr=0.1, weight_decay=0.01, **options)
    for number, one in enumerate(taken, start=1):
        weight.grad = torch.full((2,), float(number) if one else float("nan"))
        step_where(optimizer, torch.tensor(one))
    return weight.detach(), optimizer


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_skipped_step_changes_neither_the_weights_nor_what_the_next_step_does(kind, fused):
    with_skips, _ = weights_after(kind, [False, True, False, False, True], fused=fused)
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = OPTIMIZERS[kind]([weight], lr=0.1, weight_decay=0.01, fused=fused)
    for gradient in (2.0, 5.0):
        weight.grad = torch.full((2,), gradient)
        optimizer.step()
    assert torch.equal(with_skips, weight.detach())


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_fused_steps_are_those_of_the_others(kind):
    fused, _ = weights_after(kind, [True, False, True], fused=True)
    plain, _ = weights_after(kind, [True, False, True])
    assert torch.allclose(fused, plain, atol=1e-7)


def test_a_step_leaves_no_instruction_for_a_later_one_behind():
    _, optimizer = weights_after("adamw", [False], fused=True)
    assert not hasattr(optimizer, "found_inf") and not hasattr(optimizer, "grad_scale")


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_optimizers_are_fused_where_all_kinds_can_be(device):
    training = TrainingSpec(optimizer=OptimizerSpec(name="sgd"), device=device)
    (optimizer,) = build_optimizers({"heads": [nn.Parameter(torch.zeros(1))]}, training).values()
    assert optimizer.param_groups[0]["fused"] == (device == "cpu")
