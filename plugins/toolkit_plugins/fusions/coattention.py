"""Fusion `coattention`, the reference's: the other levels weigh the frames of one level."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from toolkit.contracts import Fusion, LevelShape, Seq
from toolkit.errors import RecipeError, did_you_mean
from toolkit.model.scaling import Standardize
from toolkit_plugins.fusions.blocks import check_bounds, projection
from toolkit_plugins.fusions.pooling import Flatten, check_frames


class CoAttention(Fusion):
    """The other levels, flattened, weigh the frames of the value level.

    With the other levels S and M and the value level W (of `frames` frames), each arrow being dropout,
    linear, ReLU:

        S [frames * channels] -> s [dim], M -> m [dim]
        [s, m] -> weights [frames]                  (ReLU, no softmax: they need not sum to 1)
        sum of weights * W's frames [channels] -> w [dim]
        [s, m, w, covariates] -> fused [dim]

    The reference's last two layers, dim -> dim -> classes, are the head `mlp` with `hidden: [dim]` on
    `fused`. Takes whole segments only; needs at least two levels.

    Args:
        values: the level whose frames are weighted.
        dim: size of every embedding.
        dropout: dropout probability before each linear layer.
        standardize: scale each channel of the value level's frames to mean 0 and deviation 1 over the training part; a
            frozen pre-trained level needs it.

    Raises: RecipeError if the level `values` or a second level is missing, `dim` is below 1, or `dropout` is not a
        probability below 1.

    Source: Zou et al., "Speech emotion recognition with co-attention based multi-level acoustic information",
        ICASSP 2022, arXiv 2203.15326.
    """

    def __init__(
        self,
        *,
        levels: Mapping[str, LevelShape],
        covariates: Mapping[str, int],
        segment_samples: int,
        values: str = "wav2vec2",
        dim: int = 128,
        dropout: float = 0.1,
        standardize: bool = False,
    ):
        super().__init__()
        check_bounds(dropout=dropout, dim=dim)
        if len(levels) < 2:
            raise RecipeError(
                f"coattention weighs one level's frames by the other levels, and {next(iter(levels))!r} is "
                "the only one: add a level, or use the fusion 'concat' or 'attention'"
            )
        if values not in levels:
            raise RecipeError(
                f"values: no level is called {values!r}.{did_you_mean(values, levels)} "
                f"The levels are {', '.join(levels)}."
            )
        self.values, self.others = values, [name for name in levels if name != values]
        self.levels, self.covariates = dict(levels), dict(covariates)
        self.sizes = {"fused": dim, **dict.fromkeys(levels, dim)}
        self.fixed_samples = segment_samples
        self.fits = standardize
        self.scaler = Standardize(levels[values].channels) if standardize else None
        self.flatten = nn.ModuleDict(
            {name: Flatten(channels=levels[name].channels, frames=levels[name].frames) for name in self.others}
        )
        self.project = nn.ModuleDict(
            {name: projection(flat.size, dim, dropout=dropout) for name, flat in self.flatten.items()}
        )
        self.project[values] = projection(levels[values].channels, dim, dropout=dropout)
        self.weigh = projection(len(self.others) * dim, levels[values].frames, dropout=dropout)
        self.fuse = projection(len(levels) * dim + sum(covariates.values()), dim, dropout=dropout)

    @torch.no_grad()
    def fit(self, levels: Iterable[Mapping[str, Seq]]) -> None:
        """Learn the means and deviations for `standardize`."""
        self.scaler.fit(frames[self.values] for frames in levels)

    def forward(self, levels: Mapping[str, Seq], covariates: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As in `Fusion`; ShapeError for anything but whole segments."""
        check_frames(levels[self.values], self.levels[self.values].frames)
        each = {name: self.project[name](self.flatten[name](levels[name])) for name in self.others}
        weights = self.weigh(torch.cat(list(each.values()), dim=1))  # [batch, frames]
        frames = levels[self.values]
        weights = Seq(weights, frames.lengths, full=frames.full).zeroed().values
        # Where means are far above deviations, a rounded sum minus the mean would be noise.
        with torch.autocast(frames.values.device.type, enabled=False):
            weights, values = weights.float(), frames.zeroed().values.float()
            weighted = torch.bmm(weights[:, None], values)[:, 0]  # [batch, channels]
            if self.scaler is not None:  # as if each frame had been standardized
                weighted = (weighted - weights.sum(dim=1, keepdim=True) * self.scaler.mean) / self.scaler.deviation
        each[self.values] = self.project[self.values](weighted)
        given = [covariates[name] for name in self.covariates]
        fused = self.fuse(torch.cat([*each.values(), *given], dim=1))
        return {"fused": fused, **{name: each[name] for name in self.levels}}
