"""Covariates as a fusion reads them: given as one-hot rows, or predicted from the audio.

A predicted covariate needs no label when the system is used. Statistics of frames: Snyder et al., ICASSP 2018.
"""

import torch
from torch import Tensor, nn

from toolkit.contracts import Seq
from toolkit.model.pooling import statistics_pooling


def one_hot(indices: Tensor, classes: int) -> Tensor:
    """A known covariate as probabilities.

    Args: indices: [batch], int64, from a `Target`; classes: their number.
    Returns: [batch, classes], float32; zeros in a row whose value is UNKNOWN.

    >>> one_hot(torch.tensor([1, -1]), 2)
    tensor([[0., 1.],
            [0., 0.]])
    """
    return (indices[:, None] == torch.arange(classes, device=indices.device)).float()


class PredictedCovariate(nn.Module):
    """A covariate guessed from a level's frames before the fusion: mean and deviation, then a linear head.

    The probabilities are detached, in training too: the fusion cannot bend the guess to its own use, and
    trains on what it will be given later. The logits carry the gradient of the covariate's own loss.
    """

    def __init__(self, *, channels: int, classes: int):
        super().__init__()
        self.head = nn.Sequential(nn.Identity(), nn.Linear(2 * channels, classes))  # bundles call its weights head.1

    def forward(self, level: Seq) -> tuple[Tensor, Tensor]:
        """Guess from frames [batch, frames, channels].

        Returns: probabilities [batch, classes], detached, summing to 1; logits [batch, classes].
        Raises: ShapeError if a length is 0 or exceeds frames (on the CPU).
        """
        logits = self.head(statistics_pooling(level))
        return logits.detach().float().softmax(dim=1), logits
