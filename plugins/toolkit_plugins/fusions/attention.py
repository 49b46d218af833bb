"""Fusion `attention`: learned attention over each level's frames, then over the levels."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from toolkit.contracts import LevelShape, Seq
from toolkit_plugins.fusions.blocks import PooledFusion, check_bounds, projection
from toolkit_plugins.fusions.pooling import AttentivePooling


class Attention(PooledFusion):
    """Attention over each level's frames, then over the levels, fused with the covariates.

    Takes any length, exact under padding. With one level that level's weight is 1, and `fused` reads its
    pooling alone.

    Args:
        dim: size of every embedding.
        dropout: dropout probability before each linear layer that makes an embedding.
        heads: sets of weights over a level's frames; their means are concatenated before the projection.
        hidden: size of the hidden layer that scores a frame or a level.
        statistics: append the attention-weighted standard deviation of a level's frames.
        layer_norm: layer norm of each pooled level, for levels of very different scales.
        standardize: scale each value of a pooled level to mean 0 and deviation 1 over the training part; pre-trained
            levels need it.

    Raises: RecipeError if `dim`, `heads` or `hidden` is below 1 or `dropout` is not a probability below 1.

    Source: Yang et al., "Hierarchical attention networks for document classification", NAACL 2016; Okabe et al.,
        "Attentive statistics pooling for deep speaker embedding", Interspeech 2018, arXiv 1803.10963 (deviations); Lin
        et al., "A structured self-attentive sentence embedding", ICLR 2017, arXiv 1703.03130 (several heads).
    """

    def __init__(
        self,
        *,
        levels: Mapping[str, LevelShape],
        covariates: Mapping[str, int],
        dim: int = 128,
        dropout: float = 0.1,
        heads: int = 1,
        hidden: int = 128,
        statistics: bool = False,
        layer_norm: bool = False,
        standardize: bool = False,
    ):
        check_bounds(dropout=dropout, dim=dim, heads=heads, hidden=hidden)
        pools = {
            name: AttentivePooling(channels=shape.channels, hidden=hidden, heads=heads, statistics=statistics)
            for name, shape in levels.items()
        }
        super().__init__(covariates, pools, standardize=standardize)
        self.sizes = {"fused": dim, **dict.fromkeys(levels, dim)}
        self.project = nn.ModuleDict(
            {n: projection(pool.size, dim, dropout=dropout, layer_norm=layer_norm) for n, pool in self.pool.items()}
        )
        self.score = nn.Sequential(nn.Linear(dim, hidden), nn.Tanh(), nn.Linear(hidden, 1))
        self.fuse = projection(dim + sum(covariates.values()), dim, dropout=dropout)

    def level_weights(self, embeddings: Tensor) -> Tensor:
        """The weight of every level: [batch, level, dim] -> [batch, level], summing to 1 over the levels."""
        return self.score(embeddings).squeeze(2).softmax(dim=1)

    def forward(self, levels: Mapping[str, Seq], covariates: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As in `Fusion`; ShapeError if a length is 0."""
        each = {name: self.project[name](pool(levels[name])) for name, pool in self.pool.items()}
        stacked = torch.stack(list(each.values()), dim=1)  # [batch, level, dim]
        weighted = (self.level_weights(stacked)[:, :, None] * stacked).sum(dim=1)  # [batch, dim]
        given = [covariates[name] for name in self.covariates]
        return {"fused": self.fuse(torch.cat([weighted, *given], dim=1)), **each}
