"""The contract of fusions, property by property."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from toolkit.contracts import Fusion, LevelShape, Seq
from toolkit.testing import modules
from toolkit.testing.findings import Finding, call_with, examine, require
from toolkit.testing.modules import GARBAGE, require_equal, row

ROWS = 5
LEVELS = {"first": LevelShape(channels=6, frames=12), "second": LevelShape(channels=4, frames=9)}
COVARIATES = {"gender": 2}


@dataclass(frozen=True)
class FusionCase:
    """A fusion to examine.

    Args:
        make: called with the context arguments that it names.
        levels: context argument: name -> shape.
        covariates: context argument: name -> size.
        segment_samples: context argument.
        tolerance: relative error that counts as equal.
    """

    make: Callable[..., Fusion]
    levels: Mapping[str, LevelShape]
    covariates: Mapping[str, int]
    segment_samples: int
    tolerance: float

    def build(self, *, covariates: bool = True) -> Fusion:
        """A new fusion in eval() mode."""
        known = dict(self.covariates) if covariates else {}
        context = {"levels": dict(self.levels), "covariates": known, "segment_samples": self.segment_samples}
        return call_with(self.make, context).eval()

    def frames(self, *, lengths: tuple[float, ...] = (1.0, 0.6, 0.3, 0.0, 1.0)) -> dict[str, Seq]:
        """Random frames of every level; lengths are shares of a segment, at least one frame."""
        made = {}
        for name, shape in self.levels.items():
            steps = torch.tensor([max(1, round(share * shape.frames)) for share in lengths])
            made[name] = Seq(torch.randn(len(lengths), shape.frames, shape.channels), steps)
        return made

    def probabilities(self) -> dict[str, Tensor]:
        """Random covariates: name -> [rows, size]."""
        return {name: torch.randn(ROWS, size).softmax(1) for name, size in self.covariates.items()}


def check_fusion(
    make: Callable[..., Fusion],
    *,
    levels: Mapping[str, LevelShape] = LEVELS,
    covariates: Mapping[str, int] = COVARIATES,
    segment_samples: int = 16_000,
    tolerance: float = 1e-5,
) -> list[Finding]:
    """Examine a fusion.

    Args:
        make: the class, functools.partial of it with the recipe's arguments, or any function that returns a new
            one; it is called with those of `levels`, `covariates` and `segment_samples` that it names.
        levels: name -> shape of the levels to fuse.
        covariates: name -> size; the fusion is also tried without any.
        segment_samples: what a whole segment has.
        tolerance: relative error that counts as equal.

    Returns:
        A Finding for each property of `FUSION_PROPERTIES`.
    """
    return examine(FUSION_PROPERTIES, FusionCase(make, levels, covariates, segment_samples, tolerance))


def arguments_are_documented(case: FusionCase) -> None:
    """Constructor arguments are keyword-only, annotated and explained in the class's docstring."""
    modules.require_documented_arguments(case.make, "fusion")


def sizes_are_as_declared(case: FusionCase) -> None:
    """`sizes` holds "fused" and every level, and the embeddings have these names and sizes."""
    for with_covariates in (True, False):
        fusion = case.build(covariates=with_covariates)
        require(isinstance(fusion, Fusion), f"{type(fusion).__name__} is no toolkit.contracts.Fusion")
        missing = [name for name in ("fused", *case.levels) if name not in fusion.sizes]
        require(not missing, f"sizes lacks {missing}; it holds {list(fusion.sizes)}")
        given = case.probabilities() if with_covariates else {}
        embeddings = fusion(case.frames(), given)
        same = set(embeddings) == set(fusion.sizes)
        require(same, f"embeddings are {sorted(embeddings)}, sizes says {sorted(fusion.sizes)}")
        for name, size in fusion.sizes.items():
            found = list(embeddings[name].shape)
            require(found == [ROWS, size], f"{name} is {found}, declared [{ROWS}, {size}]")
            require(embeddings[name].isfinite().all(), f"{name} is not finite")


def garbage_changes_nothing(case: FusionCase) -> None:
    """Frames beyond the lengths change nothing: NaN, infinity, 1e4."""
    fusion, frames, given = case.build(), case.frames(), case.probabilities()
    expected = fusion({name: seq.zeroed() for name, seq in frames.items()}, given)
    for garbage in GARBAGE:
        for level in frames:
            dirty = {n: modules.with_garbage(s, garbage) if n == level else s for n, s in frames.items()}
            what = f"{garbage} beyond lengths {frames[level].lengths.tolist()} of level {level!r} changes"
            _require_same(fusion(dirty, given), expected, case.tolerance, what)


def batch_equals_alone(case: FusionCase) -> None:
    """A row of a batch comes out as it does alone, its frames cut to its length (whole where that is fixed)."""
    fusion, frames, given = case.build(), case.frames(), case.probabilities()
    batch = fusion(frames, given)
    for index in range(ROWS):
        single = {n: row(s, index, cut=fusion.fixed_samples is None) for n, s in frames.items()}
        alone = fusion(single, {name: value[index : index + 1] for name, value in given.items()})
        found = {name: value[index : index + 1] for name, value in batch.items()}
        lengths = {name: int(seq.lengths[0]) for name, seq in single.items()}
        _require_same(found, alone, case.tolerance, f"row {index} of {lengths} frames, batch against alone:")


def permuted_rows_give_permuted_embeddings(case: FusionCase) -> None:
    """The order of the rows in a batch does not matter."""
    fusion, frames, given = case.build(), case.frames(), case.probabilities()
    order = torch.tensor([3, 0, 4, 2, 1])
    mixed = {name: Seq(seq.values[order], seq.lengths[order]) for name, seq in frames.items()}
    found = fusion(mixed, {name: value[order] for name, value in given.items()})
    expected = {name: value[order] for name, value in fusion(frames, given).items()}
    _require_same(found, expected, case.tolerance, "rows in another order change")


def covariates_change_fused(case: FusionCase) -> None:
    """Every covariate that is given moves "fused"."""
    fusion, frames, given = case.build(), case.frames(), case.probabilities()
    expected = fusion(frames, given)["fused"]
    for name in given:
        tries = [fusion(frames, {**given, name: case.probabilities()[name]})["fused"] for _ in range(modules.TRIALS)]
        require(any(not torch.equal(t, expected) for t in tries), f"covariate {name!r} does not change 'fused'")


def every_level_changes_fused(case: FusionCase) -> None:
    """Every level moves "fused" and its own embedding."""
    fusion, frames, given = case.build(), case.frames(), case.probabilities()
    expected = fusion(frames, given)
    for level in frames:
        tries = [fusion({**frames, level: case.frames()[level]}, given) for _ in range(modules.TRIALS)]
        for name in ("fused", level):
            moved = any(not torch.equal(t[name], expected[name]) for t in tries)
            require(moved, f"other frames of level {level!r} do not change embedding {name!r}")


def gradients_reach_what_is_trained(case: FusionCase) -> None:
    """Every trained parameter and every level's frames get finite gradients, with NaN beyond the lengths too."""
    fusion, reached = case.build(), dict.fromkeys(case.levels, False)

    def loss() -> Tensor:
        frames = {n: modules.with_garbage(s, float("nan")) for n, s in case.frames().items()}
        leaves = {name: seq.values.requires_grad_() for name, seq in frames.items()}
        fused = fusion(frames, case.probabilities())
        total = sum((value * torch.randn(value.shape)).sum() for value in fused.values())
        gradients = torch.autograd.grad(total, list(leaves.values()), retain_graph=True)
        for name, gradient in zip(leaves, gradients, strict=True):
            require(gradient.isfinite().all(), f"the gradient of level {name!r} is not finite")
            reached[name] |= bool(gradient.any())
            beyond = ~frames[name].mask
            require(not gradient[beyond].any(), f"frames of {name!r} beyond the lengths get a gradient")
        return total

    modules.require_gradients(fusion, loss)
    require(all(reached.values()), f"no gradient reaches the frames of {[n for n, r in reached.items() if not r]}")


def constant_frames_are_finite(case: FusionCase) -> None:
    """Frames that are all zero or all alike (silence) give finite embeddings and gradients."""
    for value in (0.0, 1.0):
        fusion = case.build().train()
        frames = {n: Seq(torch.full_like(s.values, value), s.lengths) for n, s in case.frames().items()}
        leaves = [seq.values.requires_grad_() for seq in frames.values()]
        embeddings = fusion(frames, case.probabilities())
        for name, embedding in embeddings.items():
            require(embedding.isfinite().all(), f"{name} of frames that are all {value} is not finite")
        sum(embedding.sum() for embedding in embeddings.values()).backward()
        for leaf in (*leaves, *fusion.parameters()):
            finite = leaf.grad is None or leaf.grad.isfinite().all()
            require(finite, f"a gradient is not finite for frames that are all {value}")


def frozen_is_deterministic_in_training(case: FusionCase) -> None:
    """What is frozen stays so after train(); eval() mode is deterministic."""
    fusion, frames, given = case.build(), case.frames(), case.probabilities()
    _require_same(fusion(frames, given), fusion(frames, given), 0, "in eval() mode, a second forward changes")
    modules.require_frozen_modules_in_eval(fusion)


def state_survives_safetensors(case: FusionCase) -> None:
    """A new fusion that loads the state gives the same embeddings."""
    fusion, other = case.build(), case.build()
    frames, given = case.frames(), case.probabilities()
    modules.copy_state(fusion, other)
    _require_same(other(frames, given), fusion(frames, given), 0, "loading the state changes")


def input_is_left_alone(case: FusionCase) -> None:
    """The fusion does not write into the frames or covariates it is given."""
    fusion, frames, given = case.build().train(), case.frames(), case.probabilities()
    before = [seq.values.clone() for seq in frames.values()] + [value.clone() for value in given.values()]
    fusion(frames, given)
    after = [seq.values for seq in frames.values()] + list(given.values())
    require(all(map(torch.equal, before, after)), "the fusion writes into its input")


def runs_in_bfloat16(case: FusionCase) -> None:
    """Under autocast to bfloat16 embeddings and gradients are finite."""
    fusion = case.build().train()
    frames = {name: Seq(seq.values.bfloat16(), seq.lengths) for name, seq in case.frames().items()}
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = fusion(frames, case.probabilities())
    total = sum(embedding.float().sum() for embedding in embeddings.values())
    require(total.isfinite(), "embeddings under autocast to bfloat16 are not finite")
    if total.requires_grad:
        total.backward()
        for name, parameter in fusion.named_parameters():
            require(parameter.grad is None or parameter.grad.isfinite().all(), f"{name}.grad in bfloat16")


FUSION_PROPERTIES = (
    arguments_are_documented,
    sizes_are_as_declared,
    garbage_changes_nothing,
    batch_equals_alone,
    permuted_rows_give_permuted_embeddings,
    covariates_change_fused,
    every_level_changes_fused,
    gradients_reach_what_is_trained,
    constant_frames_are_finite,
    frozen_is_deterministic_in_training,
    state_survives_safetensors,
    input_is_left_alone,
    runs_in_bfloat16,
)


def _require_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float, what: str) -> None:
    for name, value in expected.items():
        require_equal(found[name], value, tolerance, f"{what} {name!r}")
