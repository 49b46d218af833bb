"""The contract of heads, property by property."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from toolkit.contracts import Head
from toolkit.model.boundary import checked
from toolkit.testing import Case, contract, require
from toolkit.testing.modules import ModuleCase

ROWS = 7  # of embeddings and logits


@dataclass(frozen=True)
class HeadCase(ModuleCase):
    """A head to examine."""

    size: int = 12  # of the embedding
    classes: int = 4
    kind: ClassVar[str] = "head"
    basic = (*Case.basic, "logits_have_the_declared_shape", *ModuleCase.basic)

    @property
    def sizes(self) -> tuple[int, int]:
        """As if the embedding were two side by side."""
        return self.size // 2, self.size - self.size // 2

    def training_part(self, module: Head) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Embeddings of two batches, with their classes and groups."""
        return [(torch.randn(20, self.size), torch.arange(20) % self.classes, torch.arange(20)) for _ in range(2)]

    def inputs(self, module: Head) -> tuple[Tensor]:
        """Random embeddings: [rows, size]."""
        return (torch.randn(ROWS, self.size),)

    @contract
    def logits_have_the_declared_shape(self) -> None:
        """[batch, size] -> [batch, classes], for other sizes and numbers of classes too, and for one row."""
        for size, classes in ((self.size, self.classes), (self.size, 2), (2 * self.size + 1, 7)):
            head = replace(self, size=size, classes=classes).build()
            for rows in (ROWS, 1):
                logits = checked(head, "forward", head(torch.randn(rows, size)), (rows, classes))
                require(logits.isfinite().all(), f"logits of [{rows}, {size}] are not finite")
