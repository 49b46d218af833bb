"""Load batches of segments, with features that a cache stores or computes."""

from collections.abc import Collection, Iterator
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from toolkit.data.augmentation import Augmentations
from toolkit.data.batches import Draw
from toolkit.data.cache.features import FeatureCache
from toolkit.data.front_ends import read_segment
from toolkit.data.segments import Batch, Items, Key, SegmentSet
from toolkit.errors import ToolkitError


class LevelInputs(Items):
    """What each level gets of a segment: features if they are stored, else a waveform, augmented or as it is."""

    def __init__(
        self, segments: SegmentSet, cache: FeatureCache, levels: Collection[str], augmentations: Augmentations | None
    ):
        self.segments, self.augmentations = segments, augmentations
        waves = augmentations.waves if augmentations is not None else []
        steps_of = {level: tuple(step for step in waves if level in step.levels) for level in levels}
        self.files = cache.files(segments, [level for level, steps in steps_of.items() if not steps])
        live = [level for level in levels if level not in self.files]
        self.groups = {  # levels that share a waveform -> the steps that change it
            tuple(level for level in live if steps_of[level] == steps): steps
            for steps in dict.fromkeys(steps_of[level] for level in live)
        }

    def __len__(self) -> int:
        return len(self.segments)

    def read(self, draw: Draw) -> dict[Key, Tensor]:
        """The values of a segment: level -> features or levels -> waveform."""
        values: dict[Key, Tensor] = {}
        utterance = self.segments.segments[draw].utterance
        for level, paths in self.files.items():
            values[level] = read_segment(paths[utterance], draw - self.segments.by_utterance[utterance].start)
        if self.groups:
            wave = self.segments.read(draw)
            for levels, steps in self.groups.items():
                values[levels] = self.augmentations.wave(wave, steps, draw) if steps else wave
        return values


class SegmentLoader(DataLoader):
    """A DataLoader that raises in this process the error of a worker that could not read a segment."""

    def __init__(
        self,
        segments: SegmentSet,
        cache: FeatureCache | None = None,  # supplies features; None leaves the front ends to the system
        *,
        levels: Collection[str] | None = None,  # whose features are needed; None: all
        augmentations: Augmentations | None = None,  # of a training part
        **options: Any,  # of a DataLoader
    ):
        dataset = segments
        if cache is not None:
            dataset = LevelInputs(segments, cache, levels or cache.system.levels, augmentations)
        super().__init__(dataset, collate_fn=segments.collate, **options)
        self.cache, self.augmentations = cache, augmentations

    def __iter__(self) -> Iterator[Batch]:
        for batch in super().__iter__():
            if isinstance(batch, ToolkitError):
                raise batch
            if self.cache is not None:
                batch = self.cache.completed(batch)
            yield batch if self.augmentations is None else self.augmentations.change(batch)


def in_order(segments: SegmentSet, cache: FeatureCache | None = None, **options: Any) -> SegmentLoader:
    """All batches of a set, in the order of its segments; arguments are those of a SegmentLoader."""
    return SegmentLoader(segments, cache, batch_size=32, **options)
