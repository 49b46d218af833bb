"""Augmentations that break the contract, each in one way, beside a good one; for the tests of toolkit.testing."""

import numpy as np
import torch

from toolkit.contracts import Augmentation, Mix, Seq


class GoodAugmentation(Augmentation):
    """Louder or softer.

    Args:
        most: largest factor.
    """

    def __init__(self, *, most: float = 2.0):
        self.most = most

    def change(self, values, generator):
        return values * (self.most * torch.rand((), generator=generator))


class PositionalAugmentation(GoodAugmentation):
    def __init__(self, most: float = 2.0):
        super().__init__(most=most)


class ReadsFrames(GoodAugmentation):
    reads = "frames"


class FitsOnWaves(GoodAugmentation):
    fits = True


class DropsAll(GoodAugmentation):
    def change(self, values, generator):
        return values[:0]


class Shortens(GoodAugmentation):
    reads = "features"

    def change(self, values, generator):
        return values[1:]


class GoodMixer(GoodAugmentation):
    reads = "batch"

    def mix(self, features, generator):
        rows = len(next(iter(features.values())).lengths)
        return features, Mix(torch.randperm(rows, generator=generator), 0.5)


class OnePartner(GoodMixer):
    def mix(self, features, generator):
        _, mix = super().mix(features, generator)
        return features, Mix(torch.zeros_like(mix.partners), 0.5)


class NoShare(GoodMixer):
    def mix(self, features, generator):
        return features, Mix(super().mix(features, generator)[1].partners, 0.0)


class LosesLevel(GoodMixer):
    def mix(self, features, generator):
        return {"one": features["one"]}, super().mix(features, generator)[1]


class LeaksPadding(GoodMixer):
    def mix(self, features, generator):
        means = {level: seq.values.mean(dim=1, keepdim=True) for level, seq in features.items()}
        made = {level: Seq(seq.values - means[level], seq.lengths) for level, seq in features.items()}
        return made, super().mix(features, generator)[1]


class DividesBySilence(GoodAugmentation):
    def change(self, values, generator):
        return values / values.abs().max()


class InDouble(GoodAugmentation):
    def change(self, values, generator):
        return values.double()


class DrawsGlobally(GoodAugmentation):
    def change(self, values, generator):
        return values * torch.rand(())


class DrawsFromNumpy(GoodAugmentation):
    def __init__(self, *, most: float = 2.0):
        super().__init__(most=most)
        np.random.seed(0)
        np.random.rand()

    def change(self, values, generator):
        np.random.rand()
        return super().change(values, generator)


class Remembers(GoodAugmentation):
    seen = 0.0

    def change(self, values, generator):
        self.seen += float(values.abs().sum())
        return values * self.seen


class WritesIntoRow(GoodAugmentation):
    def change(self, values, generator):
        values[0] = 1.0
        return values.clone()


class HoldsFunction(GoodAugmentation):
    def __init__(self, *, most: float = 2.0):
        super().__init__(most=most)
        self.factor = lambda: most


AUGMENTATIONS = {
    "arguments_are_documented": [PositionalAugmentation],
    "attributes_are_as_declared": [ReadsFrames, FitsOnWaves],
    "results_fit": [DropsAll, Shortens, OnePartner, NoShare, LosesLevel, DividesBySilence, InDouble],
    "generator_decides": [DrawsGlobally, DrawsFromNumpy, Remembers, HoldsFunction],
    "input_is_left_alone": [WritesIntoRow],
    "padding_changes_nothing": [LeaksPadding],
}
