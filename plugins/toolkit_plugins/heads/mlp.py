"""Head `mlp`: the reference's classifier."""

from itertools import pairwise

from torch import Tensor, nn

from toolkit.contracts import Head
from toolkit.errors import RecipeError


class Mlp(Head):
    """Hidden layers (dropout, linear, ReLU), then a linear layer to the logits.

    Args:
        hidden: sizes of the hidden layers, at least one.
        dropout: dropout probability before each hidden layer.

    Raises: RecipeError if `hidden` is empty or holds a size below 1, or `dropout` is not a probability below 1.

    Source: Zou et al., "Speech emotion recognition with co-attention based multi-level acoustic information",
        ICASSP 2022, arXiv 2203.15326.
    """

    def __init__(
        self,
        *,
        size: int,
        classes: int,
        hidden: list[int] = [128],  # noqa: B006 - never written to
        dropout: float = 0.1,
    ):
        super().__init__()
        if not hidden or min(hidden) < 1:
            raise RecipeError(f"hidden lists sizes of at least 1, not {hidden}; without a hidden layer use 'linear'")
        if not 0 <= dropout < 1:
            raise RecipeError(f"dropout is a probability, at least 0 and below 1, not {dropout}")
        layers = []
        for before, after in pairwise([size, *hidden]):
            layers += [nn.Dropout(dropout), nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden[-1], classes))

    def forward(self, embedding: Tensor) -> Tensor:
        """[batch, size] -> [batch, classes], logits."""
        return self.layers(embedding)
