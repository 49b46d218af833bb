"""Augmentation `mixup`: each row mixed with a randomly drawn row of the batch, and their targets."""

from collections.abc import Mapping

import torch

from toolkit.contracts import Augmentation, Mix, Seq
from toolkit_plugins.augmentations.draws import check_least

UNDERFLOW = 1e-300  # of two draws: torch returns the least number instead of 0, and their shares would be equal


def mixed(seq: Seq, mix: Mix) -> Seq:
    """Each row mixed with its partner by `mix.share`; it stays as it is where the partner has ended.

    Args: seq [batch, time, channels].
    Returns: the same shape and lengths.
    """
    partners = mix.partners.to(seq.values.device, non_blocking=True)
    both = seq.values * mix.share + seq.values[partners] * (1 - mix.share)
    if seq.full:
        return Seq(both, seq.lengths, full=True)
    real = seq.mask & seq.mask[partners]
    return Seq(torch.where(real[:, :, None], both, seq.values), seq.lengths)


class Mixup(Augmentation):
    """Each row mixed with a random row of the batch by a share from Beta(alpha, alpha); its own is at least half.

    The features of all levels are mixed alike, and so are given covariates. Losses take both targets in these shares.
    Ranks that train together draw the same share, and partners among their own rows.

    Args:
        alpha: above 0; small values mix little, 1 draws shares uniformly.

    Source: Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018.
    """

    reads = "batch"

    def __init__(self, *, alpha: float = 0.3):
        check_least(1e-3, alpha=alpha)
        self.alpha = alpha

    def mix(self, features: Mapping[str, Seq], generator: torch.Generator) -> tuple[Mapping[str, Seq], Mix]:
        """Level -> [batch, time, channels], mixed; the shares."""
        rows = len(next(iter(features.values())).lengths)
        one, other = _gamma(self.alpha, generator), _gamma(self.alpha, generator)
        share = one / (one + other) if one + other > UNDERFLOW else 1.0
        mix = Mix(torch.randperm(rows, generator=generator), max(share, 1 - share))
        return {level: mixed(seq, mix) for level, seq in features.items()}, mix


def _gamma(alpha: float, generator: torch.Generator) -> float:
    """A draw from Gamma(alpha, 1): Beta(a, a) is one of two over their sum."""
    return float(torch._standard_gamma(torch.tensor(alpha, dtype=torch.float64), generator=generator))
