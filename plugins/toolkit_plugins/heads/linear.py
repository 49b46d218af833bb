"""Head `linear`: softmax regression on an embedding."""

from torch import Tensor, nn

from toolkit.contracts import Head


class Linear(Head):
    """One linear layer from the embedding to the logits.

    Source: Alain and Bengio, "Understanding intermediate layers using linear classifier probes", arXiv 1610.01644 (as
        a probe of an embedding).
    """

    def __init__(self, *, size: int, classes: int):
        super().__init__()
        self.output = nn.Linear(size, classes)

    def forward(self, embedding: Tensor) -> Tensor:
        """[batch, size] -> [batch, classes], logits."""
        return self.output(embedding)
