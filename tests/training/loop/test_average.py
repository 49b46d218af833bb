"""Averages of weights: hand-computed values, and what is validated and tested."""

import pytest
import torch
from torch import nn

from toolkit.recipe.training import AverageSpec
from toolkit.training.loop.optimizers import Average


def averages(spec: AverageSpec, weights: list[float], *, first: int = 1) -> list[float]:
    """The average after each epoch from the first on; an epoch is one step, which sets the next of these weights."""
    live = nn.BatchNorm1d(1)
    average, found = Average(live, spec), []
    for epoch, weight in enumerate(weights, start=first):
        nn.init.constant_(live.weight, weight)
        live.running_mean.fill_(weight)
        average.add(epoch)
        found.append(average.module.weight.item())
        assert average.module.running_mean.item() == weight  # of the last step
    assert not average.module.weight.requires_grad and not average.module.training
    return found


def test_equal_averaging_is_the_mean_from_its_first_epoch_on():
    assert averages(AverageSpec(name="swa", start=2), [1.0, 2.0, 4.0, 6.0]) == pytest.approx([1.0, 2.0, 3.0, 4.0])


def test_the_exponential_average_forgets_faster_at_first():
    # shares of the new weights: 1, then 1 - 1 / 11, then 1 - 0.1, the decay, as 2 / 12 is above it
    expected = [1.0, 1.0 + 10 / 11 * 11, 11.0 + 0.9 * 10]
    assert averages(AverageSpec(name="ema", decay=0.1), [1.0, 12.0, 21.0]) == pytest.approx(expected)


def test_an_average_from_epoch_0_on_keeps_what_the_training_starts_from():
    swa = averages(AverageSpec(name="swa", start=0), [4.0, 6.0, 8.0], first=0)
    assert swa == pytest.approx([4.0, 5.0, 6.0])
    ema = averages(AverageSpec(name="ema", decay=0.9, start=0), [4.0, 14.0, 15.0], first=0)
    assert ema == pytest.approx([4.0, 5.0, 6.0])  # a tenth of the way each time


def test_a_restored_average_goes_on_where_it_was():
    live = nn.Linear(1, 1)
    average = Average(live, AverageSpec(name="swa"))
    average.add(1)
    restored = Average(nn.Linear(1, 1), AverageSpec(name="swa"))
    restored.load_state_dict(average.state_dict())
    restored.module.load_state_dict(average.module.state_dict())
    for one in (average, restored):
        nn.init.constant_(one.live.weight, 3.0)
        one.add(2)
    assert torch.equal(average.module.weight, restored.module.weight)
