"""What all fusions share: checks of arguments, the projection, pooling.

The projection is that of Zou et al., "Speech emotion recognition with co-attention based multi-level acoustic
information", ICASSP 2022, arXiv 2203.15326: dropout, linear, ReLU. Dropout comes first, so an embedding
that heads and center loss read is never itself dropped out.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from toolkit.contracts import Fusion, Seq
from toolkit.errors import RecipeError
from toolkit.model.scaling import Moments, Standardize


def check_bounds(*, dropout: float, **at_least_one: int) -> None:
    """Raise RecipeError for arguments out of range; `at_least_one`: integers by name."""
    if not 0 <= dropout < 1:
        raise RecipeError(f"dropout is a probability, at least 0 and below 1, not {dropout}")
    for name, number in at_least_one.items():
        if number < 1:
            raise RecipeError(f"{name} must be at least 1, not {number}")


def projection(size: int, dim: int, *, dropout: float, layer_norm: bool = False) -> nn.Sequential:
    """[batch, size] -> [batch, dim]: (layer norm,) dropout, linear, ReLU."""
    norm = [nn.LayerNorm(size)] if layer_norm else []
    return nn.Sequential(*norm, nn.Dropout(dropout), nn.Linear(size, dim), nn.ReLU())


class StandardizedPooling(nn.Module):
    """A pooling whose values have mean 0 and deviation 1 over the segments of the training part."""

    def __init__(self, pool: nn.Module):
        super().__init__()
        self.pool, self.size = pool, pool.size
        self.scaler = Standardize(pool.size)

    def forward(self, frames: Seq) -> Tensor:
        """[batch, time, channels] -> [batch, size]."""
        return self.scaler(self.pool(frames))


class PooledFusion(Fusion):
    """A fusion that pools each level's frames and, with `standardize`, standardizes the pooled values."""

    renamed: Mapping[str, str] = {"normalise": "layer_norm"}  # old name, in recipes and bundles -> present name

    def __init__(self, covariates: Mapping[str, int], pools: Mapping[str, nn.Module], *, standardize: bool):
        super().__init__()
        self.covariates, self.fits = dict(covariates), standardize
        self.pool = nn.ModuleDict({n: StandardizedPooling(pool) if standardize else pool for n, pool in pools.items()})

    @torch.no_grad()
    def fit(self, levels: Iterable[Mapping[str, Seq]]) -> None:
        """Learn the means and deviations of the pooled values, in one pass."""
        moments = {name: Moments() for name in self.pool}
        for frames in levels:
            for name, pool in self.pool.items():
                moments[name].add(pool.pool(frames[name]))
        for name, pool in self.pool.items():
            pool.scaler.set(moments[name])
