"""Loss `cross_entropy`, with class weights and label smoothing."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from toolkit.contracts import Loss
from toolkit.errors import RecipeError


def balanced_weights(class_counts: Sequence[int]) -> Tensor:
    """Weights n / (k * n_c) over the k classes that occur, as scikit-learn's "balanced".

    A class without a training segment gets 1, the weight of a class of average size: no target needs it,
    but label smoothing does.

    >>> balanced_weights([30, 10, 20])
    tensor([0.6667, 2.0000, 1.0000])
    """
    counts = torch.as_tensor(class_counts, dtype=torch.float64)
    present = counts > 0
    weights = counts.sum() / (present.sum() * counts)
    return torch.where(present, weights, 1.0).float()


class CrossEntropy(Loss):
    """Cross entropy, averaged over the rows of a batch by their class weights, as torch does.

    Args:
        class_weights: `none`; `balanced` for n / (k * n_c) over the training segments of the fold; or a
            list with one positive number for each class, in the order of the labels.
        label_smoothing: fraction of the target that is spread over all classes, at least 0 and below 1.

    Raises: RecipeError if the list's length is not the number of classes, a weight is not positive and finite, or
        `label_smoothing` is out of its range.

    Source: Szegedy et al., "Rethinking the Inception architecture for computer vision", CVPR 2016, arXiv
        1512.00567 (label smoothing); King and Zeng, "Logistic regression in rare events data", 2001
        (balanced weights).
    """

    reads = "logits"

    def __init__(
        self,
        *,
        classes: int,
        class_counts: Sequence[int],
        class_weights: Literal["none", "balanced"] | list[float] = "none",
        label_smoothing: float = 0.0,
    ):
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise RecipeError(f"label_smoothing must be at least 0 and below 1, not {label_smoothing}")
        self.label_smoothing = label_smoothing
        # Not in the state: it follows from the recipe and the fold.
        self.register_buffer("class_weights", _weights(class_weights, classes, class_counts), persistent=False)

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The weighted mean over the rows [batch, classes], in nats."""
        inputs = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
        weight = None if self.class_weights is None else self.class_weights.to(inputs.dtype)
        return functional.cross_entropy(inputs, targets, weight, label_smoothing=self.label_smoothing)

    def denominator(self, targets: Tensor) -> Tensor:
        """The sum of the rows' class weights."""
        return super().denominator(targets) if self.class_weights is None else self.class_weights[targets].sum()


def _weights(class_weights: str | list[float], classes: int, class_counts: Sequence[int]) -> Tensor | None:
    if class_weights == "none":
        return None
    if class_weights == "balanced":
        return balanced_weights(class_counts)
    if len(class_weights) != classes:
        raise RecipeError(f"class_weights has {len(class_weights)} numbers for {classes} classes")
    if not all(weight > 0 and math.isfinite(weight) for weight in class_weights):
        raise RecipeError(f"class_weights must be positive and finite, not {class_weights}")
    return torch.tensor(class_weights, dtype=torch.float32)
