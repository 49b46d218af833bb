import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from toolkit.errors import RecipeError
from toolkit.testing import assert_contract
from toolkit_plugins.heads.discriminant import WEIGHTS, Discriminant, discriminant
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


def draws(rows: int, size: int, classes: int = 3, *, apart: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Gaussian rows whose first value has the class as its mean."""
    generator = torch.Generator().manual_seed(0)
    values, targets = torch.randn(rows, size, generator=generator).double(), torch.arange(rows) % classes
    values[:, 0] += apart * targets
    return values, targets


@pytest.mark.parametrize(("rows", "size"), [(60, 10), (30, 50)], ids=["more rows", "more values"])
def test_the_discriminant_is_scikit_learns_on_values_of_one_deviation_within_classes(rows, size):
    """There, shrinking to the diagonal of the covariance is shrinking to the identity."""
    values, targets = draws(rows, size)
    means = torch.stack([values[targets == k].mean(dim=0) for k in range(3)])
    values /= (values - means[targets]).square().mean(dim=0).sqrt()
    weight, bias = discriminant(values, targets, 3, 0.4)
    oracle = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.4, priors=[1 / 3] * 3).fit(values, targets)
    expected = torch.from_numpy(oracle.predict_log_proba(values))
    torch.testing.assert_close((values @ weight.T + bias).log_softmax(1), expected, rtol=1e-5, atol=1e-5)


def test_the_scale_of_the_values_changes_nothing_for_the_discriminant():
    """A few rows far outside, such as noisy copies, would else decide what the covariance is shrunk to."""
    values, targets = draws(60, 10)
    units = torch.logspace(-3, 4, 10).double()
    weight, bias = discriminant(values, targets, 3, 0.4)
    scaled_weight, scaled_bias = discriminant(values * units, targets, 3, 0.4)
    torch.testing.assert_close(scaled_weight * units, weight)
    torch.testing.assert_close(scaled_bias, bias)


def test_values_that_never_vary_change_nothing_for_the_discriminant():
    values, targets = draws(60, 10)
    weight, bias = discriminant(values, targets, 3, 0.4)
    constant = torch.stack([torch.zeros(60), torch.arange(60) % 2 * 1e-12], dim=1).double()
    padded_weight, padded_bias = discriminant(torch.cat([values, constant], dim=1), targets, 3, 0.4)
    torch.testing.assert_close(padded_weight[:, :10], weight)
    torch.testing.assert_close(padded_bias, bias)


def test_a_value_that_one_or_two_rows_alone_move_has_no_weight():
    """In other data, where it moves, it is thousands of deviations away: it would outweigh all others."""
    values, targets = draws(60, 10)
    moved = torch.zeros(60, 3).double()
    moved[0, 0] = moved[20:22, 1] = moved[::3, 2] = 1e-4
    weight, bias = discriminant(torch.cat([values, moved], dim=1), targets, 3, 0.4)
    kept, fewer = [*range(10), 12], torch.cat([values, moved[:, 2:]], dim=1)
    expected, expected_bias = discriminant(fewer, targets, 3, 0.4)
    torch.testing.assert_close(weight[:, kept], expected)
    torch.testing.assert_close(bias, expected_bias)
    assert weight[:, 10:12].eq(0).all() and weight[:, 12].ne(0).all()


def test_a_value_that_moves_for_one_speaker_alone_leaves_the_discriminant_sure_of_what_it_knows():
    """Held out, this speaker is thousands of deviations away: all logits were scaled to nearly nothing."""
    values, targets = draws(60, 10, apart=2.0)
    moved = torch.zeros(60, 1).double()
    moved[10:12], moved[30] = 1.0, 1e-4  # two rows of the first group, and next to nothing in the third
    heads = [Discriminant(size=size, classes=3) for size in (10, 11)]
    for head, rows in zip(heads, (values, torch.cat([values, moved], dim=1)), strict=True):
        head.fit([(rows.float(), targets, torch.arange(60) // 12)])
    assert heads[1].output.weight[:, :10].norm() > 0.9 * heads[0].output.weight.norm()


def test_of_three_rows_all_values_have_weight():
    values, targets = torch.tensor([[0.0, 5.0], [2.0, 7.0], [9.0, 1.0]]).double(), torch.tensor([0, 0, 1])
    assert discriminant(values, targets, 2, 0.4)[0].ne(0).all()


def test_a_fitted_discriminant_is_calibrated_on_rows_that_it_has_not_seen():
    values, targets = draws(2060, 50, apart=0.8)
    head = Discriminant(size=50, classes=3, shrinkage=0.1).eval()
    head.fit([(values[:60].float(), targets[:60], torch.arange(60))])
    logits = head(values[60:].float())
    right = (logits.argmax(1) == targets[60:]).float().mean()
    sure = logits.softmax(1).amax(1).mean()
    weight, bias = discriminant(values[:60], targets[:60], 3, 0.1)
    before = (values[60:] @ weight.T + bias).softmax(1).amax(1).mean()
    assert abs(sure - right) < 0.07 < before - right


def test_rows_of_one_group_are_held_out_together():
    """Copies of a row would make the head sure of what it has seen."""
    values, targets = draws(60, 50, apart=0.8)
    copies, classes = values.float().repeat(3, 1), targets.repeat(3)
    heads = [Discriminant(size=50, classes=3, shrinkage=0.1) for _ in range(2)]
    heads[0].fit([(copies, classes, torch.arange(60).repeat(3))])
    heads[1].fit([(copies, classes, torch.arange(180) % 7)])
    assert heads[0].output.weight.norm() < 0.5 * heads[1].output.weight.norm()


def test_on_two_embeddings_the_logits_of_two_discriminants_are_added():
    values, targets = draws(60, 8)
    head = Discriminant(size=8, sizes=(5, 3), classes=3, shrinkage=0.4)
    head.fit([(values.float(), targets, torch.arange(60))])
    pairs = zip(values.split((5, 3), dim=1), head.output.weight.detach().double().split((5, 3), dim=1), strict=True)
    biases = 0
    for part, found in pairs:
        weight, bias = discriminant(part, targets, 3, 0.4)
        factor = (found / weight).mean()
        torch.testing.assert_close(found, factor * weight, rtol=1e-4, atol=1e-6)
        assert WEIGHTS[0] * 0.999 <= factor <= WEIGHTS[1]
        biases = biases + factor * bias
    torch.testing.assert_close(head.output.bias.detach().double(), biases, rtol=1e-4, atol=1e-6)


def test_an_embedding_that_tells_nothing_does_little_harm():
    """In one embedding with the others its many values would cover what a few tell."""
    values, targets = draws(1060, 200, apart=1.5)

    def accuracy(size, sizes):
        head = Discriminant(size=size, sizes=sizes, classes=3)
        head.fit([(values[:60, :size].float(), targets[:60], torch.arange(60))])
        return (head(values[60:, :size].float()).argmax(1) == targets[60:]).float().mean()

    alone, apart, together = accuracy(4, (4,)), accuracy(200, (4, 196)), accuracy(200, (200,))
    assert together < alone - 0.15 and apart > alone - 0.02


def test_a_class_that_is_not_in_the_training_part_is_never_predicted():
    values, targets = draws(40, 6, 2)
    head = Discriminant(size=6, classes=3)
    head.fit([(values.float(), targets, torch.arange(40))])
    assert head(values.float() * 100)[:, 2].eq(head.output.bias[2]).all() and head.output.bias[2] < -50
    assert head.output.weight[2].eq(0).all()


def test_a_class_without_rows_stays_out_if_nothing_can_be_predicted_of_held_out_speakers():
    """Every other speaker has the classes the wrong way round: the best factor for the logits is nearly 0."""
    values = torch.tensor([[-1.0], [1.0]]).repeat(20, 1) + 0.1 * torch.randn(40, 1, generator=torch.manual_seed(0))
    groups = torch.arange(40) // 2 % 2
    targets = (torch.arange(40) + groups) % 2
    head = Discriminant(size=1, classes=3)
    head.fit([(values, targets, groups)])
    probabilities = head(values).softmax(1).mean(0)
    assert probabilities[:2].tolist() == pytest.approx([0.5, 0.5], abs=0.01) and probabilities[2] == 0


def test_without_a_known_class_the_discriminant_cannot_be_fitted():
    nothing = torch.zeros(0, dtype=torch.int64)
    with pytest.raises(RecipeError, match="its target is unknown in all of the training part"):
        Discriminant(size=3, classes=2).fit([(torch.zeros(0, 3), nothing, nothing)])


def test_the_discriminant_keeps_the_contract():
    assert_contract("head", Discriminant, {"dropout": 0.1})


@pytest.mark.parametrize(("args", "message"), [({"shrinkage": 0.0}, "shrinkage"), ({"dropout": 1.0}, "dropout")])
def test_the_discriminant_refuses_arguments_out_of_range(args, message):
    with pytest.raises(RecipeError, match=message):
        Discriminant(size=3, classes=2, **args)
