"""Dropout by masks of bytes: what it keeps and how often, and where nn.Dropout remains."""

import pytest
import torch
from torch import nn

from toolkit_plugins.extractors.byte_dropout import ByteDropout, use_byte_dropout

ROWS = 200_001  # no multiple of four, of which one random number makes masks


def draws(p: float, seed: int = 1) -> torch.Tensor:
    torch.manual_seed(seed)
    return ByteDropout(p)(torch.ones(ROWS, 5))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_values_are_dropped_as_often_as_said_and_the_others_scaled(p):
    found = draws(p)
    assert found.unique().tolist() == pytest.approx([0.0, 1 / (1 - p)], rel=2e-4)
    errors = 5 * (p * (1 - p) / found.numel()) ** 0.5  # five standard errors
    assert float((found == 0).double().mean()) == pytest.approx(p, abs=errors)


def test_neighbours_are_independent():
    kept = (draws(0.5) != 0).flatten()[: 4 * (ROWS // 4)].double().view(-1, 4)
    correlation = torch.corrcoef(kept.T)  # of the four that one random number makes
    torch.testing.assert_close(correlation, torch.eye(4, dtype=torch.float64), atol=0.02, rtol=0)


def test_torchs_seed_decides():
    assert torch.equal(draws(0.3), draws(0.3))
    assert not torch.equal(draws(0.3), draws(0.3, seed=2))


def test_gradients_are_those_of_what_was_kept():
    x = torch.randn(7, 3, requires_grad=True)
    found = ByteDropout(0.5)(x)
    weights = torch.randn(7, 3)
    (found * weights).sum().backward()
    kept = found != 0
    assert 0 < kept.sum() < kept.numel()
    torch.testing.assert_close(x.grad, torch.where(kept, 2 * weights, 0.0))


def test_the_backward_pass_keeps_a_byte_of_each_value():
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda saved: saved):
        ByteDropout(0.5)(torch.ones(100, 8, requires_grad=True))
    assert [values.nbytes for values in kept] == [800]


@pytest.mark.parametrize(
    "layer", [ByteDropout(0.5).eval(), ByteDropout(0.0), ByteDropout(1.0), ByteDropout(0.5, inplace=True)]
)
def test_elsewhere_it_is_torchs(layer):
    same = nn.Dropout(layer.p, layer.inplace).train(layer.training)
    found = []
    for dropout in (layer, same):
        torch.manual_seed(3)
        found.append(dropout(torch.ones(40, 40)))
    assert torch.equal(*found)


def test_other_numbers_keep_their_type():
    for dtype in (torch.float64, torch.bfloat16):
        found = ByteDropout(0.5)(torch.ones(3, 4, dtype=dtype))
        assert found.dtype == dtype and set(found.flatten().tolist()) <= {0.0, 2.0}
    assert ByteDropout(0.5)(torch.ones(0, 4)).shape == (0, 4)


def test_a_model_keeps_its_other_layers():
    model = nn.Sequential(nn.Dropout(0.2), nn.Dropout1d(0.2), nn.ReLU())
    use_byte_dropout(model)
    assert [type(part) for part in model] == [ByteDropout, nn.Dropout1d, nn.ReLU]
    assert model[0].p == 0.2
