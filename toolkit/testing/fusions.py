"""The contract of fusions, property by property."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import ClassVar

import torch
from torch import Tensor

from toolkit.contracts import Fusion, LevelShape, Seq
from toolkit.model.boundary import checked_embeddings
from toolkit.testing import Case, contract, require
from toolkit.testing.modules import GARBAGE, TRIALS, ModuleCase, backward, require_equal

LEVELS = {  # named as in recipes, since an argument may name one
    "spectrogram": LevelShape(channels=5, frames=7),
    "mfcc": LevelShape(channels=4, frames=9),
    "wav2vec2": LevelShape(channels=6, frames=12),
}
FRACTIONS = (1.0, 0.6, 0.3, 0.0, 1.0)  # each row's part of a whole segment; at least one frame


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
