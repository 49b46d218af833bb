"""What all fusions share: checks of inputs, the projection, covariates.

The projection is that of Zou et al., "Speech emotion recognition with co-attention based multi-level acoustic
information", ICASSP 2022, arXiv 2203.15326: dropout, linear, ReLU. Dropout comes first, so an embedding
that heads and center loss read is never itself dropped out.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from toolkit.contracts import Fusion, LevelShape, Seq
from toolkit.errors import RecipeError, ShapeError, did_you_mean
from toolkit.model.scaling import Moments, Standardize


def check_arguments(*, levels: Mapping[str, LevelShape], dropout: float, **at_least_one: int) -> None:
    """Raise RecipeError for arguments out of range; `at_least_one`: integers by name."""
    if not levels:
        raise RecipeError("a fusion needs at least one level, and model.levels is empty")
    if not 0 <= dropout < 1:
        raise RecipeError(f"dropout is a probability, at least 0 and below 1, not {dropout}")
    for name, number in at_least_one.items():
        if number < 1:
            raise RecipeError(f"{name} must be at least 1, not {number}")


def projection(size: int, dim: int, *, dropout: float, normalise: bool = False) -> nn.Sequential:
    """[batch, size] -> [batch, dim]: (layer norm,) dropout, linear, ReLU."""
    norm = [nn.LayerNorm(size)] if normalise else []
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

    def __init__(
        self,
        levels: Mapping[str, LevelShape],
        covariates: Mapping[str, int],
        pools: Mapping[str, nn.Module],
        *,
        standardize: bool,
    ):
        super().__init__()
        self.levels, self.covariates, self.fits = dict(levels), dict(covariates), standardize
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


def check_levels(levels: Mapping[str, Seq], shapes: Mapping[str, LevelShape]) -> None:
    """Raise ShapeError for frames that the fusion was not built for: a level is missing, or has other channels."""
    for name, shape in shapes.items():
        if name not in levels:
            raise ShapeError(f"level {name!r} is missing; there are {', '.join(map(repr, levels)) or 'none'}")
        values = levels[name].values
        if values.dim() != 3 or values.shape[2] != shape.channels:
            raise ShapeError(
                f"level {name!r} is {list(values.shape)}, the fusion was built for [batch, frames, {shape.channels}]"
            )


def with_covariates(parts: Iterable[Tensor], covariates: Mapping[str, Tensor], sizes: Mapping[str, int]) -> Tensor:
    """Concatenate embeddings, each [batch, size], and covariates: [batch, sum of all sizes].

    Args: covariates: name -> [batch, size], probabilities; sizes: those that the fusion was built for, in order.
    Raises: ShapeError if a covariate is missing or of another size.
    """
    given = []
    for name, size in sizes.items():
        if name not in covariates:
            raise ShapeError(f"covariate {name!r} is missing.{did_you_mean(name, covariates)}")
        if covariates[name].dim() != 2 or covariates[name].shape[1] != size:
            raise ShapeError(f"covariate {name!r} is {list(covariates[name].shape)}, not [batch, {size}]")
        given.append(covariates[name])
    return torch.cat([*parts, *given], dim=1)
