"""The convolution by spectra is conv1d."""

import pytest
import torch
from torch.nn import functional

from toolkit_plugins.extractors.fft_convolution import grouped_convolution


@pytest.mark.parametrize("frames", [1, 31, 149, 400])
@pytest.mark.parametrize(("kernel", "groups"), [(128, 4), (19, 1), (16, 8)])
def test_values_and_gradients_are_those_of_conv1d(frames, kernel, groups):
    torch.manual_seed(0)
    shapes = (2, 8, frames), (16, 8 // groups, kernel), (16,)
    given = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    expected = functional.conv1d(*given, padding=kernel // 2, groups=groups)
    found = grouped_convolution(*given, padding=kernel // 2, groups=groups)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
    above = torch.randn_like(expected)
    gradients = torch.autograd.grad(expected, given, above), torch.autograd.grad(found, given, above.float())
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4)


def test_it_keeps_float32_under_autocast():
    x, weight = torch.randn(2, 8, 40), torch.randn(8, 2, 16)
    with torch.autocast("cpu", torch.bfloat16):
        found = grouped_convolution(x, weight, None, padding=8, groups=4)
    torch.testing.assert_close(found, functional.conv1d(x, weight, padding=8, groups=4), rtol=1e-4, atol=1e-4)
