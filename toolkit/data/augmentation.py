"""Augment the training part: waveforms when they are read, features and batches before each step.

The random numbers of a segment depend only on the seed, the augmentation's name, the segment's place (epoch, step, row)
and, for features, the level: not on workers, ranks, other augmentations, or where a run was resumed. What mixes a batch
draws as for its first row, so that all ranks use one share; partners are drawn among each rank's own rows.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from toolkit.contracts import Augmentation, Mix, Seq
from toolkit.data.batches import Draw, derive_seed
from toolkit.data.segments import Batch
from toolkit.errors import RecipeError
from toolkit.plugins.plugin import plugin_failures, require_rule
from toolkit.plugins.registry import build
from toolkit.recipe.schema import Recipe, names_in


@dataclass(frozen=True, eq=False)
class Step:
    """An augmentation of a recipe; one instance for each level whose features it changes."""

    name: str  # in the recipe
    augmentation: Augmentation
    p: float  # probability that a row, or a batch, is changed
    levels: tuple[str, ...]  # that it changes


class Augmentations:
    """A recipe's augmentations in order, but those of waveforms first, since features are made from waveforms."""

    def __init__(self, steps: Iterable[Step], *, seed: int, segment_samples: int):
        acting = [step for step in steps if step.p]
        self.seed, self.segment_samples = seed, segment_samples  # of the run; the longest waveform that a level gets
        self.waves = [step for step in acting if step.augmentation.reads == "wave"]
        self.others = [step for step in acting if step.augmentation.reads != "wave"]
        self.fitted = [step for step in self.others if step.augmentation.fits]  # each on one level
        self.changed_levels = dict.fromkeys(level for step in self.waves for level in step.levels)  # by waveforms

    @property
    def note(self) -> str:
        """What those of waveforms cost, as a line."""
        names, levels = ", ".join(step.name for step in self.waves), ", ".join(self.changed_levels)
        return f"Waveforms are augmented ({names}): the training features of {levels} are recomputed in each epoch."

    def wave(self, wave: Tensor, steps: Sequence[Step], draw: Draw) -> Tensor:
        """Apply some steps to a segment's waveform: [samples] -> [samples], at most `segment_samples`."""
        for step in steps:
            wave = self._row(step, wave, draw)
        return wave[: self.segment_samples]

    def change(self, batch: Batch) -> Batch:
        """Apply the steps that read features or batches to a batch."""
        features, mix = batch.inputs, None
        with plugin_failures():
            for step in self.others:
                if step.augmentation.reads == "features":
                    (level,) = step.levels
                    features = {**features, level: self._rows(step, features[level], batch.draws)}
                elif mix is None:  # at most one mixes a batch
                    features, mix = self._mixed(step, features, (*batch.draws[0].place[:2], 0))
        return replace(batch, inputs=features, mix=mix)

    def _mixed(self, step: Step, features: Mapping[str, Seq], first: tuple) -> tuple[Mapping[str, Seq], Mix | None]:
        if (generator := self._generator(step, first)) is None:
            return features, None
        mixed, holds = step.augmentation.mix(features, generator), False
        match mixed:
            case (Mapping() as changed, Mix()):
                holds = _shapes(changed) == _shapes(features)
        rule = "features of the same levels, shapes and dtypes, and a Mix"
        require_rule(step.augmentation, "mix", holds, rule, mixed)
        return mixed

    def _rows(self, step: Step, seq: Seq, draws: Sequence[Draw]) -> Seq:
        """Change each row on its own; values beyond its length stay."""
        values = seq.values.clone()
        for row, (draw, length) in enumerate(zip(draws, seq.lengths.tolist(), strict=True)):
            values[row, :length] = self._row(step, seq.values[row, :length], draw)
        return Seq(values, seq.lengths, full=seq.full)

    def _row(self, step: Step, values: Tensor, draw: Draw) -> Tensor:
        if (generator := self._generator(step, draw.place)) is None:
            return values
        changed = step.augmentation.change(values, generator)
        is_wave = step.augmentation.reads == "wave"
        holds = isinstance(changed, Tensor) and changed.dtype == values.dtype
        holds = holds and (changed.dim() == 1 and len(changed) > 0 if is_wave else changed.shape == values.shape)
        rule = f"a tensor {'[at least 1 sample]' if is_wave else list(values.shape)} of {values.dtype}"
        require_rule(step.augmentation, "change", holds, rule, changed)
        return changed

    def _generator(self, step: Step, place: tuple) -> torch.Generator | None:
        """The random numbers of a step at a place; None if nothing is changed there."""
        key = (step.name, *step.levels) if step.augmentation.reads == "features" else (step.name,)
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "augmentation", *key, *place))
        return generator if step.p == 1 or float(torch.rand((), generator=generator)) < step.p else None


def _shapes(features: Mapping[str, Any]) -> dict[str, Any]:
    return {level: isinstance(seq, Seq) and (seq.values.shape, seq.values.dtype) for level, seq in features.items()}


def build_augmentations(recipe: Recipe) -> Augmentations:
    """Build a recipe's; RecipeError if one that mixes batches names levels (`on`)."""
    context = {"sample_rate": recipe.audio.sample_rate, "segment_samples": recipe.audio.segment_samples}
    steps = []
    for name, spec in recipe.augmentations.items():
        levels = tuple(level for level in recipe.model.levels if spec.on is None or level in names_in(spec.on))
        first = build("augmentation", spec, context)
        if first.reads == "batch" and spec.on is not None:
            problem = f"{spec.plugin!r} mixes the rows of a batch on all levels: leave `on` out."
            raise RecipeError(f"{spec.where.child('on')}: {problem}")
        apart = [(level,) for level in levels] if first.reads == "features" else [levels]
        built = [first, *(build("augmentation", spec, context) for _ in apart[1:])]
        steps += [Step(name, one, spec.p, some) for one, some in zip(built, apart, strict=True)]
    return Augmentations(steps, seed=recipe.seed, segment_samples=recipe.audio.segment_samples)
