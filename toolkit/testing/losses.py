"""The contract of losses, property by property."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from toolkit.contracts import Loss
from toolkit.testing import modules
from toolkit.testing.findings import Finding, call_with, examine, plugin_class, require
from toolkit.testing.modules import require_equal

ROWS = 7
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class LossCase:
    """A loss to examine.

    Args:
        make: called with the context arguments that it names.
        size: context argument of a loss that reads an embedding.
        classes: context argument; the size too of a loss that reads logits.
        tolerance: relative error that counts as equal.
    """

    make: Callable[..., Loss]
    size: int
    classes: int
    tolerance: float

    def build(self, *, counts: list[int] | None = None) -> Loss:
        """A new loss in train() mode."""
        counts = counts if counts is not None else [10 + 3 * c for c in range(self.classes)]
        reads = getattr(plugin_class(self.make), "reads", None)
        size = self.classes if reads == "logits" else self.size
        context = {"size": size, "classes": self.classes, "class_counts": counts}
        loss = call_with(self.make, context)
        if reads is None and loss.reads == "logits":  # a function: only what it returns says what it reads
            loss = call_with(self.make, {**context, "size": self.classes})
        return loss.train()

    def batch(self, loss: Loss, rows: int = ROWS) -> Batch:
        """Random inputs [rows, size] and targets [rows] of every class in turn."""
        size = self.classes if loss.reads == "logits" else self.size
        return torch.randn(rows, size), torch.arange(rows) % self.classes


def check_loss(
    make: Callable[..., Loss], *, size: int = 12, classes: int = 4, tolerance: float = 1e-5
) -> list[Finding]:
    """Examine a loss.

    Args:
        make: the class, functools.partial of it with the recipe's arguments, or any function that returns a new
            one; it is called with those of `size`, `classes` and `class_counts` that it names.
        size: of the embedding, where the loss reads one.
        classes: their number.
        tolerance: relative error that counts as equal.

    Returns:
        A Finding for each property of `LOSS_PROPERTIES`.
    """
    return examine(LOSS_PROPERTIES, LossCase(make, size, classes, tolerance))


def arguments_are_documented(case: LossCase) -> None:
    """Constructor arguments are keyword-only, annotated and explained in the class's docstring."""
    modules.require_documented_arguments(case.make, "loss")


def attributes_are_as_declared(case: LossCase) -> None:
    """`reads` is "logits" or "embedding", on the class already: the core asks before it builds."""
    loss = case.build()
    require(isinstance(loss, Loss), f"{type(loss).__name__} is no toolkit.contracts.Loss")
    require(loss.reads in ("logits", "embedding"), f"reads is {loss.reads!r}, not 'logits' or 'embedding'")
    known = type(loss).reads
    require(known == loss.reads, f"reads is {known!r} on the class and {loss.reads!r} on what it builds")


def value_is_a_finite_scalar(case: LossCase) -> None:
    """A scalar, finite: with every class in the batch, with one class, one row, a class that training lacks."""
    for counts in (None, [0] + [5] * (case.classes - 1)):
        loss = case.build(counts=counts)
        inputs, targets = case.batch(loss)
        for name, some in (("a batch", slice(None)), ("one row", slice(0, 1)), ("one class", targets == 1)):
            value = loss(inputs[some], targets[some]).detach()
            require(value.shape == (), f"{name} gives {list(value.shape)}, not a scalar")
            require(value.isfinite(), f"{name} gives {float(value)}, class_counts {counts or 'balanced'}")


def gradients_reach_what_is_trained(case: LossCase) -> None:
    """The inputs and every trained parameter get a finite gradient."""
    loss = case.build()

    def value() -> Tensor:
        inputs, targets = case.batch(loss)
        total = loss(inputs.requires_grad_(), targets)
        (gradient,) = torch.autograd.grad(total, inputs, retain_graph=True)
        require(gradient.isfinite().all() and gradient.any(), "the gradient of the inputs is not finite, or zero")
        return total

    modules.require_gradients(loss, value)


def value_is_the_mean_over_rows(case: LossCase) -> None:
    """Every row twice, or in another order, is the same loss: batch size does not change its scale."""
    loss = case.build().eval()
    inputs, targets = case.batch(loss)
    value = loss(inputs, targets).detach()
    twice = loss(torch.cat([inputs, inputs]), torch.cat([targets, targets])).detach()
    require_equal(twice, value, case.tolerance, f"every row twice gives {float(twice)}, once {float(value)}")
    other = loss(inputs.flip(0), targets.flip(0))
    require_equal(other, value, case.tolerance, "rows in another order")


def denominator_joins_shares(case: LossCase) -> None:
    """The values of two shares of a batch, weighted by their `denominator`, are the value of the batch."""
    loss = case.build().eval()
    inputs, targets = case.batch(loss)
    some, others = slice(0, ROWS // 3), slice(ROWS // 3, None)
    shares = [(inputs[part], targets[part]) for part in (some, others)]
    values = torch.stack([loss(*share).detach() for share in shares])
    own = [loss.denominator(share[1]) for share in shares]
    whole = loss(inputs, targets).detach()
    if any(denominator is None for denominator in own):
        joined = values.sum()
    else:
        joined = (values * torch.stack(own)).sum() / loss.denominator(targets)
    require_equal(joined, whole, case.tolerance, f"two shares give {float(joined)}, the batch {float(whole)}")


def skipped_step_leaves_no_trace(case: LossCase) -> None:
    """After `after_step(False)` all is as if the batches before it (with NaN and infinity) had not been seen."""
    one, other = case.build(), case.build()
    modules.copy_state(one, other)
    first, bad, last = (case.batch(one) for _ in range(3))
    bad[0][0], bad[0][1] = float("nan"), float("inf")
    _step(one, first)
    _step(other, first)
    before = modules.snapshot(one)
    _step(one, bad, taken=False)
    modules.require_same_state(one, before, "moved in a step that was skipped")
    _step(one, last)
    _step(other, last)
    modules.require_same_state(one, other.state_dict(), "differs after the next step: the skipped batch counts")
    _require_same_value(one, other, case)


def evaluation_leaves_no_trace(case: LossCase) -> None:
    """A forward in eval() mode changes neither the state nor what the next step does."""
    one, other = case.build(), case.build()
    modules.copy_state(one, other)
    batch, unseen = case.batch(one), case.batch(one)
    before = modules.snapshot(one)
    with torch.no_grad():
        one.eval()(*unseen)
    modules.require_same_state(one.train(), before, "moved in eval() mode")
    _step(one, batch)
    _step(other, batch)
    modules.require_same_state(one, other.state_dict(), "differs after a step: rows seen in eval() mode count")


def state_survives_safetensors(case: LossCase) -> None:
    """A new loss that loads the state after a step has the same value and takes the same next step."""
    one, other = case.build(), case.build()
    _step(one, case.batch(one))
    modules.copy_state(one, other)
    _require_same_value(one, other, case)
    batch = case.batch(one)
    _step(one, batch)
    _step(other, batch)
    modules.require_same_state(other, one.state_dict(), "differs one step after loading the state")


def input_is_left_alone(case: LossCase) -> None:
    """The loss does not write into its inputs or targets."""
    loss = case.build()
    inputs, targets = case.batch(loss)
    before = inputs.clone(), targets.clone()
    loss(inputs, targets)
    require(torch.equal(inputs, before[0]) and torch.equal(targets, before[1]), "the loss writes into its input")


LOSS_PROPERTIES = (
    arguments_are_documented,
    attributes_are_as_declared,
    value_is_a_finite_scalar,
    gradients_reach_what_is_trained,
    value_is_the_mean_over_rows,
    denominator_joins_shares,
    skipped_step_leaves_no_trace,
    evaluation_leaves_no_trace,
    state_survives_safetensors,
    input_is_left_alone,
)


def _step(loss: Loss, batch: Batch, *, taken: bool = True) -> None:
    inputs, targets = batch
    loss(inputs.clone().requires_grad_(), targets).backward()
    loss.after_step(torch.tensor(taken))
    loss.zero_grad(set_to_none=True)


def _require_same_value(one: Loss, other: Loss, case: LossCase) -> None:
    batch = case.batch(one)
    require_equal(other.eval()(*batch), one.eval()(*batch), 0, "the value of one batch")
    one.train()
    other.train()
