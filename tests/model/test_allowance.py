"""The memory of an operator's result is known, and refused, before the operator runs."""

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
        lambda: torch.randn(10**10),
        lambda: torch.arange(10**11),
        lambda: torch.hann_window(10**11),
        lambda: torch.empty_like(torch.empty(10**10, device="meta"), device="cpu"),
        lambda: torch.ones(10**5)[:, None] * torch.ones(10**5),
        lambda: torch.ones(10**5)[:, None] @ torch.ones(1, 10**5),
        lambda: torch.ones(20_000)[None].expand(10**6, -1).contiguous(),
        lambda: nn.functional.pad(torch.ones(20_000), (0, 10**10)),
    ],
)
def test_more_bytes_than_allowed_are_refused(make):
    with pytest.raises(RecipeError, match="it asks for more than 8 MiB"), Allowance(8 * MIB):
        make()


@pytest.mark.parametrize(
    ("make", "bytes"),
    [
        (lambda: torch.arange(5), 5 * 8),
        (lambda: torch.arange(2, 9, 3), 3 * 8),  # 2, 5, 8
        (lambda: torch.arange(1.0, 0.0, -0.25, dtype=torch.float64), 4 * 8),
        (lambda: torch.linspace(0, 1, 3, dtype=torch.float64), 3 * 8),
        (lambda: torch.zeros_like(torch.empty(6, 10**6, device="meta")[:, :2], device="cpu"), 6 * 2 * 4),
        (lambda: torch.hann_window(4, dtype=torch.float64), 4 * 8),
        (lambda: torch.hamming_window(4, periodic=False, dtype=torch.float64), 4 * 8),
    ],
)
def test_what_is_made_from_numbers_has_its_size(make, bytes):
    with Allowance(bytes):
        assert make().nbytes == bytes
    with pytest.raises(RecipeError, match="it asks for more"), Allowance(bytes - 1):
        make()


def test_factors_of_other_shapes_make_a_product_of_both():
    column, row = torch.ones(3, 1), torch.ones(4)
    with Allowance(3 * 4 * 4):
        column * row  # float32
    with pytest.raises(RecipeError, match="it asks for more"), Allowance(3 * 4 * 4 - 1):
        column * row


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
