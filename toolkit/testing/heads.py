"""The contract of heads, property by property."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from toolkit.contracts import Head
from toolkit.testing import modules
from toolkit.testing.findings import Finding, call_with, examine, require
from toolkit.testing.modules import require_equal

ROWS = 5


@dataclass(frozen=True)
class HeadCase:
    """A head to examine.

    Args:
        make: called with the context arguments that it names.
        size: context argument: of the embedding.
        classes: context argument: their number.
        tolerance: relative error that counts as equal.
    """

    make: Callable[..., Head]
    size: int
    classes: int
    tolerance: float

    def build(self, **context: int) -> Head:
        """A new head in eval() mode."""
        return call_with(self.make, {"size": self.size, "classes": self.classes, **context}).eval()

    def embedding(self) -> torch.Tensor:
        """Random rows: [rows, size]."""
        return torch.randn(ROWS, self.size)


def check_head(
    make: Callable[..., Head], *, size: int = 12, classes: int = 4, tolerance: float = 1e-5
) -> list[Finding]:
    """Examine a head.

    Args:
        make: the class, functools.partial of it with the recipe's arguments, or any function that returns a new
            one; it is called with those of `size` and `classes` that it names.
        size: of the embedding.
        classes: their number.
        tolerance: relative error that counts as equal.

    Returns:
        A Finding for each property of `HEAD_PROPERTIES`.
    """
    return examine(HEAD_PROPERTIES, HeadCase(make, size, classes, tolerance))


def arguments_are_documented(case: HeadCase) -> None:
    """Constructor arguments are keyword-only, annotated and explained in the class's docstring."""
    modules.require_documented_arguments(case.make, "head")


def logits_have_the_declared_shape(case: HeadCase) -> None:
    """[batch, size] -> [batch, classes], for other sizes and numbers of classes too, and for one row."""
    for size, classes in ((case.size, case.classes), (case.size, 2), (2 * case.size + 1, 7)):
        head = case.build(size=size, classes=classes)
        require(isinstance(head, Head), f"{type(head).__name__} is no toolkit.contracts.Head")
        for rows in (ROWS, 1):
            logits = head(torch.randn(rows, size))
            found = list(logits.shape)
            require(found == [rows, classes], f"[{rows}, {size}] gives {found}, not [{rows}, {classes}]")
            require(logits.isfinite().all(), f"logits of [{rows}, {size}] are not finite")


def batch_equals_alone(case: HeadCase) -> None:
    """In eval() mode a row of a batch comes out as it does alone, and twice the same."""
    head, embedding = case.build(), case.embedding()
    batch = head(embedding)
    for index in range(ROWS):
        alone = head(embedding[index : index + 1])
        require_equal(batch[index : index + 1], alone, case.tolerance, f"row {index} in a batch against alone")
    require(torch.equal(head(embedding), batch), "in eval() mode a second forward gives other logits")


def gradients_reach_what_is_trained(case: HeadCase) -> None:
    """Every trained parameter and the embedding get a finite gradient."""
    head = case.build()
    reached = []

    def loss() -> torch.Tensor:
        embedding = case.embedding().requires_grad_()
        logits = head(embedding)
        total = (logits * torch.randn(logits.shape)).sum()
        (gradient,) = torch.autograd.grad(total, embedding, retain_graph=True)
        require(gradient.isfinite().all(), "the embedding's gradient is not finite")
        reached.append(bool(gradient.any()))
        return total

    modules.require_gradients(head, loss)
    require(any(reached), "no gradient reaches the embedding")


def frozen_is_deterministic_in_training(case: HeadCase) -> None:
    """What is frozen stays so after train()."""
    modules.require_frozen_modules_in_eval(case.build())


def state_survives_safetensors(case: HeadCase) -> None:
    """A new head that loads the state gives the same logits."""
    head, other, embedding = case.build(), case.build(), case.embedding()
    modules.copy_state(head, other)
    require_equal(other(embedding), head(embedding), 0, "logits after loading the state")


def input_is_left_alone(case: HeadCase) -> None:
    """The head does not write into the embedding."""
    head, embedding = case.build().train(), case.embedding()
    before = embedding.clone()
    head(embedding)
    require(torch.equal(embedding, before), "the head writes into the embedding")


HEAD_PROPERTIES = (
    arguments_are_documented,
    logits_have_the_declared_shape,
    batch_equals_alone,
    gradients_reach_what_is_trained,
    frozen_is_deterministic_in_training,
    state_survives_safetensors,
    input_is_left_alone,
)
