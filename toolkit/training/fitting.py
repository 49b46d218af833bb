"""Fits scalers, closed-form heads and augmentations of features to the training part, without optimizer steps."""

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from copy import deepcopy
from itertools import chain

import torch
from torch import Tensor, nn

from toolkit.corpus.targets import UNKNOWN
from toolkit.data.augmentation import Augmentations
from toolkit.data.batches import Draw
from toolkit.data.cache.features import FeatureCache
from toolkit.data.loaders import in_order
from toolkit.data.segments import Batch, SegmentSet
from toolkit.errors import RecipeError, one_line
from toolkit.model.system import System
from toolkit.plugins.plugin import BUILT_BY, blame
from toolkit.recipe.schema import Recipe
from toolkit.terminal import progress

MOST_FITTED = 1024  # segments, at most, on which an augmentation of features is fitted


def fit_augmentations(augmentations: Augmentations, recipe: Recipe, segments: SegmentSet, cache: FeatureCache) -> None:
    """Fit those that learn from features, on some training segments; RecipeError if a level does not suit one."""
    sampled = range(0, len(segments), -(-len(segments) // MOST_FITTED))
    for step in augmentations.fitted:
        level = step.levels[0]
        batches = in_order(segments, cache, levels=[level], sampler=sampled)
        try:
            step.augmentation.fit(batch.inputs[level] for batch in batches)
        except RecipeError as error:
            where = recipe.augmentations[step.name].where.child("on")
            raise RecipeError(f"{where}: level {level!r}: {error}; `on` chooses the levels.") from error


@torch.no_grad()
def fit_parts(recipe: Recipe, segments: SegmentSet, cache: FeatureCache, augmentations: Augmentations) -> float:
    """Fit levels, then the fusion, then heads, each in a pass of its own over the training segments; returns seconds.

    Levels and a fusion from a bundle stay as they were fitted there. For heads, each of the recipe's `fit_passes` adds
    a pass over segments with augmented waveforms; masks and noise on features are for optimizer steps.
    """
    start, system, starts_afresh = time.monotonic(), cache.system, recipe.training.init_from is None
    numbers: dict[str, int] = {}  # by speaker
    groups = torch.tensor([numbers.setdefault(u.speaker or u.id, len(numbers)) for u in segments.utterances])
    waves = Augmentations(augmentations.waves, seed=recipe.seed, segment_samples=recipe.audio.segment_samples)

    def batches(what: str, levels: list[str] | None = None, passes: int = 0) -> Iterable[Batch]:
        loaders = [in_order(segments, cache, levels=levels)]
        for number in range(1, passes + 1):
            drawn = [Draw(index, 0, number, index) for index in range(len(segments))]
            loaders.append(in_order(segments, cache, augmentations=waves, sampler=drawn))
        loaded = progress(chain.from_iterable(loaders), what, total=sum(map(len, loaders)), shown=cache.progress)
        return (batch.to(cache.device) for batch in loaded)

    system.eval()
    unfitted = {}  # copies of other distributions' parts that are fitted
    for name, part in system.named_modules():
        if BUILT_BY in vars(part) and part.fits:
            with suppress(Exception):  # an attribute that cannot be copied may be anything
                unfitted[name] = deepcopy(part)
    for name, level in system.levels.items():
        if level.fits and starts_afresh:
            level.fit(batch.inputs[name] for batch in batches(f"scaling level {name}: batch", [name]))
    if system.fusion.fits and starts_afresh:
        system.fusion.fit(system.frames(batch.inputs) for batch in batches("scaling the fusion: batch"))

    def known_rows(head: str) -> Iterable[tuple[Tensor, Tensor, Tensor]]:
        for batch in batches(f"fitting head {head}: batch", passes=recipe.training.fit_passes):
            embeddings, _ = system.embed(batch.inputs, batch.covariates)
            classes = batch.targets[recipe.model.heads[head].target]
            known = classes != UNKNOWN
            yield system.read_by(head, embeddings)[known], classes[known], groups[batch.utterances][known.cpu()]

    for name, head in system.heads.items():
        if head.fits:
            head.fit(known_rows(name))
    if unfitted:
        batch = next(iter(in_order(segments, cache, sampler=range(min(2, len(segments)))))).to(cache.device)
        _require_state(system, unfitted, batch)
    return time.monotonic() - start


def _require_state(system: System, unfitted: Mapping[str, nn.Module], batch: Batch) -> None:
    """Raise FailedPlugin unless each fitted part's state makes its copy, which was not fitted, compute the same."""

    def answers() -> Tensor:
        made = system(batch.inputs, batch.covariates)
        return torch.cat([*made.embeddings.values(), *made.logits.values()], dim=1)

    expected = answers()
    for name, copy in unfitted.items():
        part = system.get_submodule(name)
        try:
            copy.load_state_dict(part.state_dict())
        except RuntimeError as error:
            names = one_line(error).partition(": ")[2]
            blame(part, f"`fit` changed names or shapes of the state: register all of it in the constructor. {names}")
        system.set_submodule(name, copy)
        found = answers()
        system.set_submodule(name, part)
        if not torch.allclose(found, expected, rtol=1e-4, atol=1e-6, equal_nan=True):
            blame(part, "what `fit` learned is not in the state, and a bundle would lose it: keep it in buffers.")
