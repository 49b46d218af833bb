"""Heads that break the contract, each in one way, beside a good one; for the tests of toolkit.testing."""

import torch
from torch import nn

from toolkit.contracts import Head


class GoodHead(Head):
    """A linear layer.

    Args:
        bias: whether it has one.
    """

    def __init__(self, *, size: int, classes: int, bias: bool = True):
        super().__init__()
        self.output = nn.Linear(size, classes, bias=bias)

    def forward(self, embedding):
        return self.output(embedding)


class PositionalHead(GoodHead):
    def __init__(self, size, classes):
        super().__init__(size=size, classes=classes)


class FitsPerhaps(GoodHead):
    fits = None


class OneClassTooMany(GoodHead):
    def __init__(self, *, size, classes):
        super().__init__(size=size, classes=classes + 1)


class NormOverBatch(GoodHead):
    def forward(self, embedding):
        return self.output(embedding - embedding.mean(0))


class UnusedLayer(GoodHead):
    def __init__(self, *, size, classes):
        super().__init__(size=size, classes=classes)
        self.unused = nn.Linear(2, 2)


class RandomHead(GoodHead):
    def forward(self, embedding):
        return self.output(embedding) + torch.rand(())


class HeadWithHiddenState(GoodHead):
    def __init__(self, *, size, classes):
        super().__init__(size=size, classes=classes)
        self.shift = torch.randn(())

    def forward(self, embedding):
        return self.output(embedding) + self.shift


class WritesIntoEmbedding(GoodHead):
    def forward(self, embedding):
        with torch.no_grad():
            embedding[:, 0] = 0.0
        return self.output(embedding)


class HeadOfOneBound(GoodHead):
    """Its logits overflow in bfloat16, where 1 and 1 + 1e-3 are the same."""

    def forward(self, embedding):
        logits = super().forward(embedding)
        return logits / (torch.ones_like(logits) * (1 + 1e-3) - 1)


HEADS = {
    "arguments_are_documented": [PositionalHead],
    "attributes_are_as_declared": [FitsPerhaps],
    "logits_have_the_declared_shape": [OneClassTooMany],
    "batch_equals_alone": [NormOverBatch],
    "gradients_reach_what_is_trained": [UnusedLayer],
    "evaluation_is_deterministic": [RandomHead],
    "state_survives_safetensors": [HeadWithHiddenState],
    "input_is_left_alone": [WritesIntoEmbedding],
    "runs_in_bfloat16": [HeadOfOneBound],
}
