"""Linear layers by oneDNN: values and gradients are nn.Linear's, up to rounding."""

import pytest
import torch
from torch import nn

from toolkit_plugins.extractors import onednn_linear
from toolkit_plugins.extractors.onednn_linear import OneDnnLinear, use_onednn

HERE = onednn_linear._applies(torch.zeros(1, 1), torch.zeros(1, 1))


@pytest.mark.skipif(not HERE, reason="a processor without AVX-512")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7, 12), (2, 7, 12), (3, 2, 7, 12)])
def test_values_and_gradients_are_those_of_float64(shape, bias):
    layer = OneDnnLinear(nn.Linear(12, 5, bias=bias))
    exact = nn.Linear(12, 5, bias=bias).double()
    exact.load_state_dict(layer.state_dict())
    x, weights = torch.randn(shape, requires_grad=True), torch.randn(*shape[:-1], 5)
    x64 = x.detach().double().requires_grad_()
    found, expected = layer(x), exact(x64)
    assert type(found.grad_fn).__name__ == "_LinearBackward"
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(x.grad.double(), x64.grad, rtol=1e-5, atol=1e-5)
    for one, other in zip(layer.parameters(), exact.parameters(), strict=True):
        torch.testing.assert_close(one.grad.double(), other.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not HERE, reason="a processor without AVX-512")
def test_what_is_frozen_gets_no_gradient():
    layer = OneDnnLinear(nn.Linear(3, 2))
    layer.weight.requires_grad_(False)
    layer(torch.ones(4, 3)).sum().backward()
    assert layer.weight.grad is None and layer.bias.grad.tolist() == [4.0, 4.0]


def test_dtypes_other_than_float32_stay_with_torch():
    layer = OneDnnLinear(nn.Linear(3, 2))
    assert layer.double()(torch.ones(4, 3, dtype=torch.float64)).dtype == torch.float64
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer.float()(torch.ones(4, 3)).dtype == torch.bfloat16
    assert layer(torch.ones(0, 3)).shape == (0, 2)


def test_a_model_keeps_its_parameters_and_other_layers():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Bilinear(3, 3, 1))
    weight, state = model[0].weight, model.state_dict()
    use_onednn(model)
    assert [type(part) for part in model] == [OneDnnLinear, nn.ReLU, nn.Bilinear]
    assert model[0].weight is weight and model.state_dict().keys() == state.keys()
