"""Loss `center`: pulls embeddings of a class together."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from toolkit.contracts import Loss
from toolkit.distributed import summed
from toolkit.errors import RecipeError


def class_differences(embeddings: Tensor, targets: Tensor, centers: Tensor) -> Tensor:
    """Sum of c_j - x_i over the rows i of each class j, and their number.

    The sum is over masked rows: on a GPU index_add_ is not deterministic, and a matrix product may round to TF32.

    Args: embeddings: [batch, size]; targets: [batch], int64; centers: [classes, size].
    Returns: [classes, size + 1]: the sums, then the number of rows.
    """
    rows = torch.cat([centers[targets] - embeddings, torch.ones_like(embeddings[:, :1])], dim=1)
    members = functional.one_hot(targets, centers.shape[0])  # [batch, classes]
    return (members[:, :, None] * rows[:, None, :]).sum(dim=0)  # [classes, size + 1]


class Center(Loss):
    """Half the squared distance between an embedding and its class's center: 1/2 ||x_i - c_{y_i}||^2.

    Wen et al. sum over the batch (`reduction: sum`). The default, `mean`, is that sum divided by the rows
    of the batch, so that a loss weight means the same at any batch size. The paper sums the cross entropy
    too; here that is a mean, so the paper's weight of 0.003 goes with `mean`.

    Centers start at zero. Once per optimizer step taken, they move by the rule
    c_j <- c_j - alpha * sum_i (c_j - x_i) / (1 + n_j), whatever the reduction and the loss's weight. The sum
    is over all rows since the previous step: of all accumulated batches and, under DDP, of all ranks. No
    optimizer moves the centers: they are a buffer, the only state. Rows that wait for the next step are not
    in the state, since none wait at a step's end. In eval() mode nothing moves and nothing waits.

    Args:
        alpha: update rate of the centers, at least 0 and at most 1.
        reduction: `mean` or `sum` over the rows of the batch.

    Attributes:
        centers: [classes, size], float32.

    Raises: RecipeError if `alpha` is out of its range.

    Source: Wen et al., "A discriminative feature learning approach for deep face recognition", ECCV 2016.
    """

    reads = "embedding"
    centers: Tensor

    def __init__(self, *, size: int, classes: int, alpha: float = 0.5, reduction: Literal["mean", "sum"] = "mean"):
        super().__init__()
        if not 0 <= alpha <= 1:
            raise RecipeError(f"alpha must be at least 0 and at most 1, not {alpha}")
        self.alpha = alpha
        self.reduction = reduction
        self.register_buffer("centers", torch.zeros(classes, size))
        # Not a buffer: each rank has its own.
        self._pending: Tensor | None = None

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of whole rows: `of_shares` with a share of 1."""
        return self.of_shares(inputs, targets, 1.0)

    def of_shares(self, inputs: Tensor, targets: Tensor, share: float) -> Tensor:
        """The loss; in train() mode the rows also wait for `after_step`, where each counts as `share` of a row.

        Its gradient with respect to x_i is x_i - c_{y_i}, divided by the batch size for `mean`.
        """
        inputs = inputs.to(torch.promote_types(inputs.dtype, self.centers.dtype))
        if self.training:
            with torch.no_grad():
                new = class_differences(inputs, targets, self.centers).to(self.centers.dtype) * share
                self._pending = new if self._pending is None else self._pending + new
        total = (inputs - self.centers[targets]).square().sum() / 2
        return total / inputs.shape[0] if self.reduction == "mean" else total

    def denominator(self, targets: Tensor) -> Tensor | None:
        """The number of rows; None for `sum`."""
        return super().denominator(targets) if self.reduction == "mean" else None

    @torch.no_grad()
    def after_step(self, taken: Tensor) -> None:
        """Move the centers if the step was taken, and forget the rows. Never waits for the device."""
        pending, self._pending = self._pending, None
        if pending is None:
            classes, size = self.centers.shape
            pending = self.centers.new_zeros(classes, size + 1)
        pending = summed(pending)
        moved = self.centers - self.alpha * pending[:, :-1] / (1 + pending[:, -1:])
        taken = torch.as_tensor(taken, device=self.centers.device)
        # torch.where, not a product: 0 * NaN is NaN.
        self.centers.copy_(torch.where(taken, moved, self.centers))
