import pytest
import torch

from toolkit.errors import RecipeError
from toolkit_plugins.heads.linear import Linear
from toolkit_plugins.heads.mlp import Mlp


def test_linear_is_one_matrix_and_a_bias():
    head = Linear(size=3, classes=2)
    x = torch.tensor([[1.0, 2.0, 3.0]])
    torch.testing.assert_close(head(x), x @ head.output.weight.T + head.output.bias)
    assert sum(p.numel() for p in head.parameters()) == 3 * 2 + 2


def test_mlp_has_the_hidden_layers_that_it_was_given():
    head = Mlp(size=6, classes=4, hidden=[5, 3])
    sizes = [tuple(m.weight.shape) for m in head.layers if isinstance(m, torch.nn.Linear)]
    assert sizes == [(5, 6), (3, 5), (4, 3)]
    assert head(torch.randn(2, 6)).shape == (2, 4)


def test_mlp_by_default_has_one_hidden_layer_of_128():
    assert [tuple(m.weight.shape) for m in Mlp(size=6, classes=4).layers if hasattr(m, "weight")] == [
        (128, 6),
        (4, 128),
    ]


def test_mlp_drops_out_in_training_only():
    torch.manual_seed(0)
    head, x = Mlp(size=6, classes=4, dropout=0.5), torch.randn(2, 6)
    assert not torch.equal(head(x), head(x))
    head.eval()
    assert torch.equal(head(x), head(x))


@pytest.mark.parametrize("hidden", [[], [0], [8, -1]])
def test_mlp_refuses_hidden_layers_without_a_size(hidden):
    with pytest.raises(RecipeError, match="hidden lists sizes of at least 1"):
        Mlp(size=6, classes=4, hidden=hidden)


def test_mlp_refuses_a_dropout_of_everything():
    with pytest.raises(RecipeError, match="dropout is a probability"):
        Mlp(size=6, classes=4, dropout=1.0)
