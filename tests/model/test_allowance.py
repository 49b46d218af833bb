"""Tensors that are too large are refused, those that are made with a size before they are made."""

import pytest
import torch
from torch import nn

from toolkit.errors import RecipeError
from toolkit.model.allowance import Allowance

MIB = 2**20


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Linear(10**6, 10**6),
        lambda: nn.Embedding(10**9, 64),
        lambda: torch.randn(10**12),
        lambda: torch.ones(1).new_zeros(10**12),
    ],
)
def test_more_bytes_than_allowed_are_refused(make):
    with pytest.raises(RecipeError, match="it asks for more than 8 MiB"), Allowance(8 * MIB):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.ones(2000)[:, None] * torch.ones(2000),
        lambda: torch.ones(2000)[:, None] @ torch.ones(1, 2000),
        lambda: torch.zeros(1).expand(3_000_000) + 1,
        lambda: torch.arange(3 * 10**6 // 2),
    ],
)
def test_a_result_that_was_not_made_with_a_size_is_refused_once_it_is_made(make):
    with Allowance(17 * MIB):
        make()
    with pytest.raises(RecipeError, match="it asks for more than 8 MiB"), Allowance(8 * MIB):
        make()


def test_tensors_are_counted_and_their_sizes_summed():
    with pytest.raises(RecipeError, match="too many tensors"), Allowance(MIB, tensors=40):
        nn.LSTM(2, 2, num_layers=10**6)
    with pytest.raises(RecipeError, match="too many tensors"), Allowance(MIB, tensors=40):
        [torch.zeros(0) for _ in range(41)]
    with Allowance(MIB, tensors=2):
        torch.zeros(MIB // 8), torch.zeros(MIB // 8)
    with pytest.raises(RecipeError, match="more than 1 MiB"), Allowance(MIB, tensors=3):
        torch.zeros(MIB // 8), torch.zeros(MIB // 8), torch.zeros(1)
    with Allowance(MIB, tensors=None):
        torch.zeros(MIB // 4), torch.zeros(MIB // 4)


def test_the_time_is_limited():
    with pytest.raises(RecipeError, match="takes more than 0 s"), Allowance(MIB, seconds=0):
        torch.zeros(1)


def test_an_allowance_changes_no_weights_unless_it_draws_none():
    torch.manual_seed(3)
    expected = nn.LSTM(3, 4, bidirectional=True)
    torch.manual_seed(3)
    with Allowance(MIB):
        found = nn.LSTM(3, 4, bidirectional=True)
    assert all(torch.equal(a, b) for a, b in zip(expected.parameters(), found.parameters(), strict=True))
    state = torch.get_rng_state()
    with Allowance(MIB, draw=False):
        nn.Linear(3, 4)
    assert torch.equal(state, torch.get_rng_state())
