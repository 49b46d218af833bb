"""Fusions that break the contract, each in one way, beside a good one; for the tests of toolkit.testing."""

import torch
from torch import nn

from toolkit.contracts import Fusion, Seq


class GoodFusion(Fusion):
    """Masked mean of each level, projected; all of them and the covariates, projected.

    Args:
        dim: size of every embedding.
    """

    def __init__(self, *, levels, covariates, dim: int = 8):
        super().__init__()
        self.sizes = {"fused": dim, **dict.fromkeys(levels, dim)}
        self.project = nn.ModuleDict({name: nn.Linear(shape.channels, dim) for name, shape in levels.items()})
        self.fuse = nn.Linear(dim * len(levels) + sum(covariates.values()), dim)

    def pool(self, seq):
        return seq.zeroed().values.sum(1) / seq.lengths[:, None]

    def forward(self, levels, covariates):
        each = {name: project(self.pool(levels[name])) for name, project in self.project.items()}
        return {"fused": self.fuse(torch.cat([*each.values(), *covariates.values()], dim=1)), **each}


class PositionalFusion(GoodFusion):
    def __init__(self, levels, covariates):
        super().__init__(levels=levels, covariates=covariates)


class FitsPerhaps(GoodFusion):
    fits = None


class LacksLevel(GoodFusion):
    def forward(self, levels, covariates):
        return {"fused": super().forward(levels, covariates)["fused"]}


class PlainMean(GoodFusion):
    def pool(self, seq):
        return seq.values.mean(1)


class LengthOfBatch(GoodFusion):
    def pool(self, seq):
        return seq.zeroed().values.sum(1) / seq.lengths.max()


class FirstRowMatters(GoodFusion):
    def forward(self, levels, covariates):
        return {name: value - value[:1].detach() for name, value in super().forward(levels, covariates).items()}


class IgnoresCovariates(GoodFusion):
    def forward(self, levels, covariates):
        return super().forward(levels, {name: torch.zeros_like(value) for name, value in covariates.items()})


class IgnoresLevel(GoodFusion):
    def forward(self, levels, covariates):
        first, *_ = levels
        zero = Seq(0 * levels[first].zeroed().values, levels[first].lengths)
        return super().forward({**levels, first: zero}, covariates)


class DetachedFusion(GoodFusion):
    def forward(self, levels, covariates):
        return super().forward({n: Seq(s.values.detach(), s.lengths) for n, s in levels.items()}, covariates)


class RootOfZero(GoodFusion):
    def pool(self, seq):
        return (seq.zeroed().values.square().sum(1) / seq.lengths[:, None]).sqrt()


class RandomFusion(GoodFusion):
    def pool(self, seq):
        return super().pool(seq) + torch.rand(())


class HiddenState(GoodFusion):
    def __init__(self, *, levels, covariates):
        super().__init__(levels=levels, covariates=covariates)
        self.shift = torch.randn(())

    def pool(self, seq):
        return super().pool(seq) + self.shift


class WritesIntoLevels(GoodFusion):
    def pool(self, seq):
        with torch.no_grad():
            seq.values[:, 0] = 0.0
        return super().pool(seq)


class OverflowsInBfloat16(GoodFusion):
    def pool(self, seq):
        pooled = super().pool(seq)
        return pooled / 0 if seq.values.dtype == torch.bfloat16 else pooled


class FitsToPadding(GoodFusion):
    fits = True

    def __init__(self, *, levels, covariates):
        super().__init__(levels=levels, covariates=covariates)
        self.register_buffer("scale", torch.ones(()))

    def fit(self, levels):
        self.scale.fill_(sum(seq.values.abs().mean() for batch in levels for seq in batch.values()))

    def pool(self, seq):
        return super().pool(seq) * self.scale


FUSIONS = {
    "arguments_are_documented": [PositionalFusion],
    "attributes_are_as_declared": [FitsPerhaps],
    "sizes_are_as_declared": [LacksLevel, FitsToPadding],
    "garbage_changes_nothing": [PlainMean],
    "batch_equals_alone": [PlainMean, LengthOfBatch, FirstRowMatters],
    "every_input_changes_fused": [IgnoresCovariates, IgnoresLevel],
    "gradients_reach_what_is_trained": [DetachedFusion],
    "constant_frames_are_finite": [RootOfZero],
    "evaluation_is_deterministic": [RandomFusion],
    "state_survives_safetensors": [HiddenState],
    "input_is_left_alone": [WritesIntoLevels],
    "runs_in_bfloat16": [OverflowsInBfloat16],
}
