"""Augmentation `feature_noise`: Gaussian noise on features."""

import torch
from torch import Tensor

from toolkit_plugins.augmentations.draws import check_least
from toolkit_plugins.augmentations.masks import OnLevel


class FeatureNoise(OnLevel):
    """Gaussian noise on a level's features, in proportion to each channel's deviation over the training part.

    Args:
        deviation: standard deviation of the noise, as a fraction of the channel's.
    """

    def __init__(self, *, deviation: float = 0.2):
        super().__init__()
        check_least(0, deviation=deviation)
        self.part = deviation

    def change(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """[time, channels] -> the same shape."""
        noise = torch.randn(values.shape, generator=generator)
        noise, deviation = (tensor.to(values, non_blocking=True) for tensor in (noise, self.deviation))
        return values + self.part * deviation * noise
