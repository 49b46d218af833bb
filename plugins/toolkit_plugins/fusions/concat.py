"""Fusion `concat`: late fusion by concatenation of pooled levels."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from toolkit.contracts import LevelShape, Seq
from toolkit.errors import RecipeError
from toolkit_plugins.fusions.blocks import PooledFusion, check_bounds, projection
from toolkit_plugins.fusions.pooling import pooling_layer


class Concat(PooledFusion):
    """Every level pooled over time and projected; all concatenated, with the covariates, and projected again.

    Without projections (`project: false`) an embedding is the pooled level, of which only the scale is learned: a head
    that is fitted in closed form needs this.

    Takes any length, except with the pooling `flatten`, which takes whole segments only.

    Args:
        dim: size of every projected embedding.
        dropout: dropout probability before each linear layer.
        pooling: how a level's frames become one vector: `statistics` (mean and standard deviation), `mean`,
            `attention` (a learned weighted mean for each level), `flatten` (all frames side by side).
        layer_norm: layer norm of each pooled level before its projection, for levels of very different scales.
        standardize: scale each value of a pooled level to mean 0 and deviation 1 over the training part; pre-trained
            levels need it.
        project: whether embeddings are projected.

    Raises: RecipeError if `dim` is below 1, `dropout` is not a probability below 1, or `layer_norm` has no projection.

    Source: Snyder et al., "X-vectors: Robust DNN embeddings for speaker recognition", ICASSP 2018
        (statistics pooling).
    """

    def __init__(
        self,
        *,
        levels: Mapping[str, LevelShape],
        covariates: Mapping[str, int],
        segment_samples: int,
        dim: int = 128,
        dropout: float = 0.1,
        pooling: Literal["statistics", "mean", "attention", "flatten"] = "statistics",
        layer_norm: bool = False,
        standardize: bool = False,
        project: bool = True,
    ):
        check_bounds(dropout=dropout, dim=dim)
        if layer_norm and not project:
            raise RecipeError("layer_norm comes before a projection, and project is false: use standardize instead")
        pools = {name: pooling_layer(pooling, shape) for name, shape in levels.items()}
        super().__init__(covariates, pools, standardize=standardize)
        self.fixed_samples = segment_samples if pooling == "flatten" else None
        sizes = {name: pool.size for name, pool in self.pool.items()}
        self.project = nn.ModuleDict({name: nn.Identity() for name in levels})
        self.fuse = nn.Identity()
        if project:
            layers = {name: projection(n, dim, dropout=dropout, layer_norm=layer_norm) for name, n in sizes.items()}
            self.project, sizes = nn.ModuleDict(layers), dict.fromkeys(levels, dim)
            self.fuse = projection(len(levels) * dim + sum(covariates.values()), dim, dropout=dropout)
        self.sizes = {"fused": dim if project else sum([*sizes.values(), *covariates.values()]), **sizes}

    def forward(self, levels: Mapping[str, Seq], covariates: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As in `Fusion`; ShapeError if a length is 0."""
        each = {name: self.project[name](pool(levels[name])) for name, pool in self.pool.items()}
        given = [covariates[name] for name in self.covariates]
        return {"fused": self.fuse(torch.cat([*each.values(), *given], dim=1)), **each}
