"""Linear discriminant analysis with a shrunken covariance, as a head that is fitted before training.

Friedman, "Regularized discriminant analysis", Journal of the American Statistical Association 84, 1989. Why fine-tuning
should start from a fitted head: Kumar et al., "Fine-tuning can distort pretrained features and underperform
out-of-distribution", ICLR 2022, arXiv 2202.10054.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor, nn
from torch.nn import functional

from toolkit.contracts import Head
from toolkit.errors import RecipeError

FOLDS = 5
WEIGHTS = (1e-4, 1.0)  # bounds of the weight of an embedding's logits
NEVER = -1e4  # the logit of a class without rows
FEWEST = 3.0  # rows that have to move a value


class Discriminant(Head):
    """One linear layer, fitted in closed form on the training part; the optimizer continues from there.

    The classes share one covariance and are equally likely, so that rare classes count as much as frequent ones. The
    scale of an embedding's values changes nothing, and a value that only one or two rows move has no weight. With
    `training.epochs: 0` the fitted head is the result: for little data with large, fixed embeddings.

    On several embeddings, each has a discriminant of its own. Their logits are added with the weights that predict
    held-out speakers best, so that an uninformative embedding does little harm (stacking; Breiman, 1996).

    Args:
        shrinkage: fraction of the covariance that is replaced by its diagonal, above 0 and at most 1; a larger one is
            smoother, 1 takes the values for independent.
        dropout: dropout probability before the layer.

    Raises: RecipeError if an argument is out of range.

    Source: Friedman, "Regularized discriminant analysis", JASA 84, 1989; Breiman, "Stacked regressions", Machine
        Learning 24, 1996.
    """

    fits = True

    def __init__(
        self, *, size: int, classes: int, sizes: Sequence[int] = (), shrinkage: float = 0.5, dropout: float = 0.0
    ):
        super().__init__()
        if not 0 < shrinkage <= 1:
            raise RecipeError(f"shrinkage has to be above 0 and at most 1, not {shrinkage}")
        if not 0 <= dropout < 1:
            raise RecipeError(f"dropout is a probability, at least 0 and below 1, not {dropout}")
        self.sizes, self.shrinkage = list(sizes or (size,)), shrinkage
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(size, classes)

    @torch.no_grad()
    def fit(self, rows: Iterable[tuple[Tensor, Tensor, Tensor]]) -> None:
        """Fit to the training part, each embedding by itself, then weigh the logits to predict held-out speakers best.

        Raises: RecipeError if no class is known.
        """
        parts = [torch.cat(part).cpu() for part in zip(*rows, strict=True)]
        if not len(parts[1]):
            raise RecipeError("discriminant cannot be fitted: its target is unknown in all of the training part")
        embeddings, targets, groups = parts[0].double().split(self.sizes, dim=1), parts[1], parts[2]
        classes = self.output.out_features
        fitted = [discriminant(values, targets, classes, self.shrinkage) for values in embeddings]
        factors = _weights(embeddings, targets, groups, classes, self.shrinkage)
        weighted = [(f * weight, f * bias) for f, (weight, bias) in zip(factors, fitted, strict=True)]
        weights, biases = zip(*weighted, strict=True)
        self.output.weight.copy_(torch.cat(weights, dim=1))
        self.output.bias.copy_(sum(biases).nan_to_num(neginf=NEVER))

    def forward(self, embedding: Tensor) -> Tensor:
        """[batch, size] -> [batch, classes], logits."""
        return self.output(self.dropout(embedding))


def discriminant(rows: Tensor, targets: Tensor, classes: int, shrinkage: float) -> tuple[Tensor, Tensor]:
    """Linear discriminant analysis with equal priors.

    Args: rows [rows, size], float64; targets [rows].
    Returns: weight [classes, size] and bias [classes]; a class without rows has weight 0 and bias -inf.
    """
    size = rows.shape[1]
    counts = torch.bincount(targets, minlength=classes).double()
    means = rows.new_zeros(classes, size).index_add_(0, targets, rows) / counts.clamp_min(1)[:, None]
    residuals = rows - means[targets]
    squares = residuals.square()
    deviation = squares.mean(dim=0).sqrt()
    # A value that never varies, but for rounding, would outweigh all others.
    deviation[deviation <= 1e-6 * deviation.median()] = 1.0
    # In other data, so would one that only a row or two move: it has no weight. If rows are few, half the values stay.
    moved = squares.sum(dim=0).square() / squares.square().sum(dim=0)  # by how many rows, as Kish counts them (1965)
    deviation[moved < moved.nanmedian().clamp_max(FEWEST)] = torch.inf
    means /= deviation
    within = residuals / deviation * ((1 - shrinkage) / len(rows)) ** 0.5  # its square is the covariance
    if len(rows) < size:  # Woodbury (1950): factorise [rows, rows] instead of [size, size]
        inner = torch.linalg.cholesky(torch.eye(len(rows)) * shrinkage + within @ within.T)
        weight = (means - torch.cholesky_solve(within @ means.T, inner).T @ within) / shrinkage
    else:
        factor = torch.linalg.cholesky(torch.eye(size) * shrinkage + within.T @ within)
        weight = torch.cholesky_solve(means.T, factor).T
    bias = -0.5 * (weight * means).sum(dim=1)
    return weight / deviation, torch.where(counts > 0, bias, -torch.inf)


def _weights(
    embeddings: Sequence[Tensor], targets: Tensor, groups: Tensor, classes: int, shrinkage: float
) -> list[float]:
    """The weights of the embeddings' logits with the smallest cross-entropy on held-out groups, a fifth at a time."""
    held = []
    for fold in range(FOLDS):
        out = groups % FOLDS == fold
        known = out & torch.isin(targets, targets[~out])
        if known.any():
            fitted = [discriminant(values[~out], targets[~out], classes, shrinkage) for values in embeddings]
            logits = [
                values[known] @ weight.T + bias for values, (weight, bias) in zip(embeddings, fitted, strict=True)
            ]
            held.append((torch.stack(logits), targets[known]))
    if not held:
        return [1.0] * len(embeddings)
    logits, targets = torch.cat([found for found, _ in held], dim=1), torch.cat([found for _, found in held])
    impossible = logits[0].isneginf()  # classes without rows in the other folds
    logits = logits.nan_to_num(neginf=0.0)  # 0 times infinity would have no gradient

    @torch.enable_grad()
    def loss(factors: np.ndarray) -> tuple[float, np.ndarray]:
        weights = torch.from_numpy(factors).requires_grad_()
        summed = torch.einsum("e,erc->rc", weights, logits).masked_fill(impossible, -torch.inf)
        value = functional.cross_entropy(summed, targets)
        (gradient,) = torch.autograd.grad(value, weights)
        return value.item(), gradient.numpy()

    return minimize(loss, np.full(len(embeddings), 0.1), jac=True, bounds=[WEIGHTS] * len(embeddings)).x.tolist()
