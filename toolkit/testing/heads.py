"""The contracts of fusions, heads and losses, property by property."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, ClassVar

import torch
from torch import Tensor

from toolkit.contracts import Fusion, Head, LevelShape, Loss, Seq
from toolkit.model.boundary import checked, checked_embeddings
from toolkit.testing import Case, contract, require, unwrapped
from toolkit.testing.modules import GARBAGE, TRIALS, ModuleCase, backward, copy_state, require_equal

LEVELS = {  # named as in recipes, since an argument may name one
    "spectrogram": LevelShape(channels=5, frames=7),
    "mfcc": LevelShape(channels=4, frames=9),
    "wav2vec2": LevelShape(channels=6, frames=12),
}
FRACTIONS = (1.0, 0.6, 0.3, 0.0, 1.0)  # each row's part of a whole segment; at least one frame
ROWS = 7  # of embeddings and logits


@dataclass(frozen=True)
class FusionCase(ModuleCase):
    """A fusion to examine, for `levels` and `covariates` (name -> size); it is also tried without any covariate."""

    levels: Mapping[str, LevelShape] = field(default_factory=lambda: LEVELS)
    covariates: Mapping[str, int] = field(default_factory=lambda: {"gender": 2})
    segment_samples: int = 16_000
    kind: ClassVar[str] = "fusion"
    basic = (*Case.basic, "sizes_are_as_declared", *ModuleCase.basic)

    def training_part(self, module: Fusion) -> list[dict[str, Seq]]:
        """Frames of two batches, with NaN beyond the lengths."""
        batches = [self.inputs()[0] for _ in range(2)]
        return [{name: seq.filled(float("nan")) for name, seq in frames.items()} for frames in batches]

    def inputs(self, module: Fusion | None = None) -> tuple[dict[str, Seq], dict[str, Tensor]]:
        """Random frames of every level, bfloat16 under autocast, and probabilities of every covariate: [rows, size]."""
        frames, kind = {}, torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32
        for name, shape in self.levels.items():
            lengths = torch.tensor([max(1, round(fraction * shape.frames)) for fraction in FRACTIONS])
            frames[name] = Seq(torch.randn(len(FRACTIONS), shape.frames, shape.channels).to(kind), lengths)
        return frames, {name: torch.randn(len(FRACTIONS), size).softmax(1) for name, size in self.covariates.items()}

    def trained_pass(self, module: Fusion) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The outputs for frames with NaN beyond the lengths, and these frames."""
        (frames, _), (_, given) = self.training_part(module), self.inputs()
        reached = {f"level {name!r}": seq.values.requires_grad_() for name, seq in frames.items()}
        return module(frames, given), reached

    @contract
    def sizes_are_as_declared(self) -> None:
        """`sizes` holds "fused" and every level, and the embeddings have these names and sizes, and are finite."""
        for tried in (self, replace(self, covariates={})):
            fusion = tried.build()
            missing = [name for name in ("fused", *self.levels) if name not in fusion.sizes]
            require(not missing, f"sizes lacks {missing}; it holds {list(fusion.sizes)}")
            for name, value in checked_embeddings(fusion, fusion(*tried.inputs()), rows=len(FRACTIONS)).items():
                require(value.isfinite().all(), f"{name} is not finite")

    @contract
    def garbage_changes_nothing(self) -> None:
        """Frames beyond the lengths change nothing: NaN, infinity, 1e4."""
        fusion, (frames, given) = self.build(), self.inputs()
        expected = fusion({name: seq.zeroed() for name, seq in frames.items()}, given)
        for level, garbage in product(frames, GARBAGE):
            dirty = {**frames, level: frames[level].filled(garbage)}
            what = f"with {garbage} beyond lengths {frames[level].lengths.tolist()} of level {level!r}"
            require_equal(fusion(dirty, given), expected, self.tolerance, what)

    @contract
    def every_input_changes_fused(self) -> None:
        """Every level changes "fused" and its own embedding; every covariate changes "fused"."""
        fusion, given = self.build(), self.inputs()
        expected = fusion(*given)
        for name in (*self.levels, *self.covariates):
            tries = []
            for _ in range(TRIALS):
                pairs = zip(given, self.inputs(), strict=True)
                tries.append(fusion(*({**old, name: new[name]} if name in old else old for old, new in pairs)))
            for embedding in ("fused", name) if name in self.levels else ("fused",):
                moved = any(not torch.equal(made[embedding], expected[embedding]) for made in tries)
                require(moved, f"other values of {name!r} do not change embedding {embedding!r}")

    @contract
    def constant_frames_are_finite(self) -> None:
        """Frames that are all zero or all alike (silence) give finite embeddings and gradients."""
        for value in (0.0, 1.0):
            fusion, (frames, given) = self.build().train(), self.inputs()
            frames = {n: Seq(torch.full_like(s.values, value).requires_grad_(), s.lengths) for n, s in frames.items()}
            leaves = {name: seq.values for name, seq in frames.items()}
            backward(fusion, fusion(frames, given), leaves, f"for frames that are all {value}")


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
            for name, some in (("a batch", slice(None)), ("one row", slice(0, 1)), ("one class", targets == 1)):
                value = checked(loss, "forward", loss(inputs[some], targets[some]), ())
                require(value.isfinite(), f"{name} gives {float(value.detach())}, class_counts {counts or 'balanced'}")

    @contract
    def denominator_joins_parts(self) -> None:
        """The mean over rows: the values of two parts of a batch, weighted by `denominator`, give the batch's."""
        loss = self.build()
        inputs, targets = self.inputs(loss)
        parts = [(inputs[some], targets[some]) for some in (slice(0, ROWS // 3), slice(ROWS // 3, None))]
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
