import torch
from torch.nn import functional

from toolkit.contracts import LevelShape, Seq
from toolkit.model.system import PredictedCovariate, one_hot
from toolkit_plugins.fusions.concat import Concat


def test_one_hot_has_a_row_of_zeros_where_the_value_is_not_known():
    expected = torch.tensor([[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    assert torch.equal(one_hot(torch.tensor([1, -1, 0]), 2), expected)


def test_a_predicted_covariate_gives_probabilities_and_their_logits():
    torch.manual_seed(0)
    predict = PredictedCovariate("x", channels=4, classes=2)
    probabilities, logits = predict(Seq(torch.randn(3, 5, 4), torch.tensor([5, 1, 2])))
    torch.testing.assert_close(probabilities, logits.softmax(dim=1))
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(3))


def test_a_predicted_covariate_reads_mean_and_deviation():
    predict = PredictedCovariate("x", channels=1, classes=2)
    frames = Seq(torch.tensor([[[1.0], [3.0], [float("nan")]]]), torch.tensor([2]))
    linear = predict.head[1]
    assert list(predict.state_dict()) == ["head.1.weight", "head.1.bias"], "as in the bundles that there are"
    torch.testing.assert_close(predict(frames)[1], torch.tensor([[2.0, 1.0]]) @ linear.weight.T + linear.bias)


def test_the_fusion_sends_no_gradient_into_the_predicted_covariate_and_its_own_loss_does():
    torch.manual_seed(0)
    predict = PredictedCovariate("x", channels=4, classes=2).train()
    fusion = Concat(levels={"mfcc": LevelShape(4, 5)}, covariates={"gender": 2}, segment_samples=48000, dim=8).train()
    frames = Seq(torch.randn(3, 5, 4), torch.tensor([5, 1, 2]))
    probabilities, logits = predict(frames)
    fusion({"mfcc": frames}, {"gender": probabilities})["fused"].sum().backward()
    assert all(parameter.grad is None for parameter in predict.parameters())
    functional.cross_entropy(logits, torch.tensor([0, 1, 0])).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in predict.parameters())


def test_the_loss_of_a_predicted_covariate_reaches_its_level():
    predict = PredictedCovariate("x", channels=4, classes=2)
    values = torch.randn(3, 5, 4, requires_grad=True)
    logits = predict(Seq(values, torch.tensor([5, 1, 2])))[1]
    functional.cross_entropy(logits, torch.tensor([0, 1, 0])).backward()
    assert values.grad[0].abs().sum() > 0
    assert (values.grad[1, 1:] == 0).all()
