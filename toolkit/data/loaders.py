"""Load batches of segments, with features that a cache stores or computes."""

from collections.abc import Collection, Iterator
from typing import Any

from torch.utils.data import DataLoader

from toolkit.data.augmentation import Augmentations, AugmentedSegments
from toolkit.data.cache.features import FeatureCache
from toolkit.data.segments import Batch, SegmentSet
from toolkit.errors import ToolkitError


class SegmentLoader(DataLoader):
    """A DataLoader that raises in this process the error of a worker that could not read a segment."""

    def __init__(
        self,
        segments: SegmentSet,
        cache: FeatureCache | None = None,  # supplies features; None leaves the front ends to the system
        *,
        levels: Collection[str] | None = None,  # whose features are computed if they are not kept; None: all
        augmentations: Augmentations | None = None,  # of a training part
        **options: Any,  # of a DataLoader
    ):
        if augmentations is not None and augmentations.waves:
            dataset = AugmentedSegments(segments, augmentations, cache)
        else:
            dataset = cache.dataset(segments, levels) if cache else segments
        super().__init__(dataset, collate_fn=segments.collate, **options)
        self.cache, self.levels, self.augmentations = cache, levels, augmentations

    def __iter__(self) -> Iterator[Batch]:
        for batch in super().__iter__():
            if isinstance(batch, ToolkitError):
                raise batch
            if self.cache is not None:
                batch = self.cache.completed(batch, self.levels)
            yield batch if self.augmentations is None else self.augmentations.change(batch)


def in_order(segments: SegmentSet, cache: FeatureCache | None = None, **options: Any) -> SegmentLoader:
    """All batches of a set, in the order of its segments; arguments are those of a SegmentLoader."""
    return SegmentLoader(segments, cache, batch_size=32, **options)
