"""Losses that break the contract, each in one way, beside a good one; for the tests of toolkit.testing."""

import torch

from toolkit.contracts import Loss


class GoodLoss(Loss):
    """Half the squared distance to a centre that follows the mean of what the last step saw.

    Args:
        rate: how far it follows.
    """

    reads = "embedding"

    def __init__(self, *, size: int, class_counts, rate: float = 0.5):
        super().__init__()
        self.rate = rate
        self.register_buffer("centre", torch.zeros(size))
        self.seen = None

    def forward(self, inputs, targets):
        if self.training:
            self.seen = inputs.detach().mean(0)
        return (inputs - self.centre).square().sum(1).mean() / 2

    def after_step(self, taken):
        if bool(taken) and self.seen is not None:
            self.centre += self.rate * (self.seen - self.centre)
        self.seen = None


class PositionalLoss(GoodLoss):
    def __init__(self, size, class_counts):
        super().__init__(size=size, class_counts=class_counts)


class ReadsNothing(GoodLoss):
    reads = "frames"


class ReadsLater(GoodLoss):
    def __init__(self, *, size: int, class_counts):
        super().__init__(size=size, class_counts=class_counts)
        self.reads = "logits"


class RowLosses(GoodLoss):
    def forward(self, inputs, targets):
        return (inputs - self.centre).square().sum(1)


class DividesByCount(GoodLoss):
    def __init__(self, *, size: int, class_counts):
        super().__init__(size=size, class_counts=class_counts)
        self.weights = 1 / torch.tensor(class_counts)

    def forward(self, inputs, targets):
        return super().forward(inputs, targets) * self.weights.mean()


class RandomLoss(GoodLoss):
    def forward(self, inputs, targets):
        return super().forward(inputs, targets) + torch.rand(())


class DetachedLoss(GoodLoss):
    def forward(self, inputs, targets):
        return super().forward(inputs.detach(), targets).requires_grad_()


class Sums(GoodLoss):
    def forward(self, inputs, targets):
        return super().forward(inputs, targets) * len(targets)


class WeightedMean(GoodLoss):
    """Divides by the sum of its rows' weights, and does not say so."""

    def forward(self, inputs, targets):
        weights = 1.0 + targets
        return ((inputs - self.centre).square().sum(1) * weights).sum() / weights.sum()


class MovesInAnyCase(GoodLoss):
    def after_step(self, taken):
        super().after_step(torch.tensor(True))


class MultipliesByTaken(GoodLoss):
    """0 * NaN is NaN."""

    def after_step(self, taken):
        if self.seen is not None:
            self.centre += taken * self.rate * (self.seen - self.centre)
        self.seen = None


class CountsSharesAsBatches(GoodLoss):
    def forward(self, inputs, targets):
        before = self.seen
        value = super().forward(inputs, targets)
        if self.training and before is not None:
            self.seen = self.seen + before
        return value


class KeepsSkippedRows(GoodLoss):
    skipped = 0.0

    def after_step(self, taken):
        if not bool(taken):
            self.skipped = self.skipped + self.seen
        elif self.seen is not None:
            self.seen = self.seen + self.skipped
            super().after_step(taken)


class LearnsInEvaluation(GoodLoss):
    def forward(self, inputs, targets):
        self.seen = inputs.detach().mean(0) + (0 if self.seen is None else self.seen)
        return (inputs - self.centre).square().sum(1).mean() / 2


class CentreIsNoState(GoodLoss):
    def __init__(self, *, size: int, class_counts):
        super().__init__(size=size, class_counts=class_counts)
        del self.centre
        self.centre = torch.zeros(size)


class WritesIntoInputs(GoodLoss):
    def forward(self, inputs, targets):
        with torch.no_grad():
            inputs[0] = 0.0
        return super().forward(inputs, targets)


LOSSES = {
    "arguments_are_documented": [PositionalLoss],
    "attributes_are_as_declared": [ReadsNothing, ReadsLater],
    "value_is_a_finite_scalar": [RowLosses, DividesByCount],
    "evaluation_is_deterministic": [RandomLoss],
    "gradients_reach_what_is_trained": [DetachedLoss],
    "denominator_joins_parts": [Sums, WeightedMean],
    "shares_are_one_batch": [CountsSharesAsBatches],
    "only_steps_leave_a_trace": [MovesInAnyCase, MultipliesByTaken, KeepsSkippedRows, LearnsInEvaluation],
    "state_survives_safetensors": [CentreIsNoState],
    "input_is_left_alone": [WritesIntoInputs],
}
