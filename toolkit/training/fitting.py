"""Fits the parts of a system that are not trained by steps (scalers, closed-form heads) on the training part."""

import time
from collections.abc import Iterable
from itertools import chain

import torch
from torch import Tensor

from toolkit.corpus.targets import UNKNOWN
from toolkit.data.augmentation import Augmentations
from toolkit.data.batches import Draw
from toolkit.data.cache.features import FeatureCache
from toolkit.data.loaders import in_order
from toolkit.data.segments import Batch, SegmentSet
from toolkit.model.system import System
from toolkit.recipe.schema import Recipe
from toolkit.terminal import progress


@torch.no_grad()
def fit_parts(
    system: System,
    recipe: Recipe,
    segments: SegmentSet,
    cache: FeatureCache,
    augmentations: Augmentations,
    *,
    shown: bool,
) -> float:
    """Fit levels, then the fusion, then heads, each in a pass of its own over the training segments; returns seconds.

    Levels and a fusion from a bundle stay as they were fitted there. For heads, each of the recipe's `fit_passes` adds
    a pass over segments with augmented waveforms; masks and noise on features are for training by steps.
    """
    start = time.monotonic()
    names = [u.speaker or u.id for u in segments.utterances]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    groups = torch.tensor([numbers[name] for name in names])

    def batches(what: str, levels: list[str] | None = None, passes: int = 0) -> Iterable[Batch]:
        loaders = [in_order(segments, cache, levels=levels)]
        for number in range(1, passes + 1):
            drawn = [Draw.at(index, 0, number, index) for index in range(len(segments))]
            loaders.append(in_order(segments, cache, augmentations=augmentations.waveforms_only, sampler=drawn))
        loaded = progress(chain.from_iterable(loaders), what, total=sum(map(len, loaders)), shown=shown)
        return (batch.to(cache.device) for batch in loaded)

    system.eval()
    for name, level in system.levels.items():
        if level.fits and recipe.training.init_from is None:
            level.fit(batch.features[name] for batch in batches(f"scaling level {name}: batch", [name]))
    if system.fusion.fits and recipe.training.init_from is None:
        system.fusion.fit(system.frames(batch.features) for batch in batches("scaling the fusion: batch"))

    def known_rows(head: str) -> Iterable[tuple[Tensor, Tensor, Tensor]]:
        for batch in batches(f"fitting head {head}: batch", passes=recipe.training.fit_passes):
            embeddings, _ = system.embed(batch.features, batch.covariates)
            classes = batch.targets[recipe.model.heads[head].target]
            known = classes != UNKNOWN
            yield system.read_by(head, embeddings)[known], classes[known], groups[batch.utterances][known.cpu()]

    for name, head in system.heads.items():
        if head.fits:
            head.fit(known_rows(name))
    return time.monotonic() - start
