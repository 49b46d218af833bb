"""The contract of losses, property by property."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from toolkit.contracts import Loss
from toolkit.model.boundary import checked
from toolkit.testing import Case, contract, require, unwrapped
from toolkit.testing.modules import ModuleCase, copy_state, require_equal

ROWS = 7  # of embeddings and logits


@dataclass(frozen=True)
class LossCase(ModuleCase):
    """A loss to examine."""

    size: int = 12  # of the embedding, if it reads one
    classes: int = 4  # and the size of logits
    class_counts: tuple[int, ...] | None = None  # None: about balanced
    kind: ClassVar[str] = "loss"
    basic = (*Case.basic, "value_is_a_finite_scalar", *ModuleCase.basic)
    # Losses have no rows of outputs, and are computed in float32.
    batch_equals_alone = None
    runs_in_bfloat16 = None

    def context(self) -> dict[str, Any]:
        """The context arguments; `size` is that of the logits unless the class says that it reads an embedding."""
        counts = self.class_counts or [10 + 3 * c for c in range(self.classes)]
        size = self.size if getattr(unwrapped(self.make), "reads", None) == "embedding" else self.classes
        return {"size": size, "classes": self.classes, "class_counts": list(counts)}

    def inputs(self, module: Loss) -> tuple[Tensor, Tensor]:
        """Random inputs [rows, size], and targets [rows] that go through the classes."""
        return torch.randn(ROWS, self.context()["size"]), torch.arange(ROWS) % self.classes

    def _pair(self) -> tuple[Loss, Loss]:
        one, other = self.build(), self.build()
        copy_state(one, other)
        return one, other

    @contract
    def attributes_are_as_declared(self) -> None:
        """`reads` is "logits" or "embedding", on the class itself: the core asks before it builds a loss."""
        super().attributes_are_as_declared()
        loss = self.build()
        known = type(loss).reads
        require(known == loss.reads, f"reads is {known!r} on the class and {loss.reads!r} on its instance")

    @contract
    def value_is_a_finite_scalar(self) -> None:
        """A finite scalar: for a batch of all classes, one class, one row, and a class without training data."""
        for counts in (None, (0, *[5] * (self.classes - 1))):
            loss = replace(self, class_counts=counts).build().train()
            inputs, targets = self.inputs(loss)
            for name, rows in (("a batch", slice(None)), ("one row", slice(0, 1)), ("one class", targets == 1)):
                value = checked(loss, "forward", loss(inputs[rows], targets[rows]), ())
                require(value.isfinite(), f"{name} gives {float(value.detach())}, class_counts {counts or 'balanced'}")

    @contract
    def denominator_joins_parts(self) -> None:
        """The mean over rows: the values of two parts of a batch, weighted by `denominator`, give the batch's."""
        loss = self.build()
        inputs, targets = self.inputs(loss)
        parts = [(inputs[rows], targets[rows]) for rows in (slice(0, ROWS // 3), slice(ROWS // 3, None))]
        values = torch.stack([loss(*part).detach() for part in parts])
        own = [loss.denominator(part[1]) for part in parts]
        whole = loss(inputs, targets).detach()
        if any(denominator is None for denominator in own):
            joined = values.sum()
        else:
            joined = (values * torch.stack(own)).sum() / loss.denominator(targets)
        remedy = "return the sum of the rows' weights from `denominator`"
        what = f"two parts give {float(joined)}, the batch {float(whole)} ({remedy})"
        require_equal(joined, whole, self.tolerance, what)

    @contract
    def shares_are_one_batch(self) -> None:
        """Mixed rows count by their shares: a share of a batch and the rest of it leave the state of the whole."""
        one, other = self._pair()
        batch = self.inputs(one)
        one.train()(*batch)
        for share in (0.25, 0.75):
            other.train().of_shares(*batch, share)
        for loss in (one, other):
            loss.after_step(torch.tensor(True))
        what = "differs after a step whose rows were mixed: override `of_shares`, and count a row by its share"
        require_equal(other.state_dict(), one.state_dict(), self.tolerance, what)

    @contract
    def only_steps_leave_a_trace(self) -> None:
        """Neither a skipped step (after NaN and infinity) nor eval() mode changes this or the next step's state."""
        one, other = self._pair()
        first, bad, unseen, last = (self.inputs(one) for _ in range(4))
        bad[0][0], bad[0][1] = float("nan"), float("inf")
        _step(first, one, other)
        _step(bad, one, taken=False)
        require_equal(one.state_dict(), other.state_dict(), 0, "moved in a step that was skipped")
        with torch.no_grad():
            one(*unseen)
        require_equal(one.state_dict(), other.state_dict(), 0, "moved in eval() mode")
        _step(last, one, other)
        what = "differs after the next step: rows of a skipped step, or seen in eval() mode, count"
        require_equal(one.state_dict(), other.state_dict(), 0, what)
        self.require_alike(other, one, "of one batch")

    @contract
    def state_survives_safetensors(self) -> None:
        """A new loss that loads the state after a step has the same value and takes the same next step."""
        one, other = self.build(), self.build()
        _step(self.inputs(one), one)
        copy_state(one, other)
        self.require_alike(other, one, "of one batch")
        _step(self.inputs(one), one, other)
        require_equal(other.state_dict(), one.state_dict(), 0, "differs one step after loading the state")


def _step(batch: tuple[Tensor, Tensor], *losses: Loss, taken: bool = True) -> None:
    """One optimizer step of each loss on the same batch, in train() mode."""
    inputs, targets = batch
    for loss in losses:
        loss.train()(inputs.clone().requires_grad_(), targets).backward()
        loss.after_step(torch.tensor(taken))
        loss.zero_grad(set_to_none=True)
        loss.eval()
