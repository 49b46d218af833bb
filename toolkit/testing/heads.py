"""The contract of heads, property by property."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from toolkit.contracts import Head
from toolkit.testing.case import Suite, require
from toolkit.testing.modules import (
    ModuleCase,
    arguments_are_documented,
    frozen_is_deterministic_in_training,
    input_is_left_alone,
    require_gradients,
    state_survives_safetensors,
)
from toolkit.testing.tensors import random_sum, require_equal

ROWS = 5


@dataclass(frozen=True)
class HeadCase(ModuleCase):
    """A head to examine.

    Args:
        size: of the embedding.
        classes: their number.
    """

    size: int = 12
    classes: int = 4
    kind: ClassVar[str] = "head"

    def context(self) -> dict[str, int]:
        """See Case."""
        return {"size": self.size, "classes": self.classes}

    def inputs(self, module: Head) -> tuple[Tensor]:
        """An embedding: [rows, size]."""
        return (torch.randn(ROWS, self.size),)

    def outputs(self, module: Head, embedding: Tensor) -> dict[str, Tensor]:
        """The logits."""
        return {"logits": module(embedding)}


def logits_have_the_declared_shape(case: HeadCase) -> None:
    """[batch, size] -> [batch, classes], for other sizes and numbers of classes too, and for one row."""
    for size, classes in ((case.size, case.classes), (case.size, 2), (2 * case.size + 1, 7)):
        head = replace(case, size=size, classes=classes).build()
        require(isinstance(head, Head), f"{type(head).__name__} is not a toolkit.contracts.Head")
        for rows in (ROWS, 1):
            logits = head(torch.randn(rows, size))
            found = list(logits.shape)
            require(found == [rows, classes], f"[{rows}, {size}] gives {found}, not [{rows}, {classes}]")
            require(logits.isfinite().all(), f"logits of [{rows}, {size}] are not finite")


def batch_equals_alone(case: HeadCase) -> None:
    """In eval() mode a row of a batch comes out as it does alone."""
    head = case.build()
    (embedding,) = case.inputs(head)
    batch = head(embedding)
    for index in range(ROWS):
        alone = head(embedding[index : index + 1])
        require_equal(batch[index : index + 1], alone, case.tolerance, f"row {index} in a batch against alone")


def gradients_reach_what_is_trained(case: HeadCase) -> None:
    """Every trained parameter and the embedding get a finite gradient."""
    head = case.build()

    def forward() -> tuple[Tensor, dict[str, Tensor]]:
        embedding = case.inputs(head)[0].requires_grad_()
        return random_sum(case.outputs(head, embedding)), {"the embedding": embedding}

    require_gradients(head, forward)


SUITE = Suite(
    HeadCase,
    (
        arguments_are_documented,
        logits_have_the_declared_shape,
        batch_equals_alone,
        gradients_reach_what_is_trained,
        frozen_is_deterministic_in_training,
        state_survives_safetensors,
        input_is_left_alone,
    ),
)
