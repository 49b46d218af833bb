"""Batches of segments, with the features that a cache keeps or makes of them."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

from torch.utils.data import DataLoader

from toolkit.data.cache.features import FeatureCache
from toolkit.data.segments import Batch, SegmentSet
from toolkit.errors import ToolkitError

BATCH_SIZE = 32


class SegmentLoader(DataLoader):
    """A DataLoader that raises, in this process, what a worker could not read.

    Args:
        segments: whose batches.
        cache: asked for their features; None leaves the front ends to the system.
        levels: whose features are computed where they are not kept; None: all.
        options: as for a DataLoader.
    """

    def __init__(
        self,
        segments: SegmentSet,
        cache: FeatureCache | None = None,
        *,
        levels: Collection[str] | None = None,
        **options: Any,
    ):
        super().__init__(cache.dataset(segments) if cache else segments, collate_fn=segments.collate, **options)
        self.cache, self.levels = cache, levels

    def __iter__(self) -> Iterator[Batch]:
        for batch in super().__iter__():
            if isinstance(batch, ToolkitError):
                raise batch
            if self.cache is not None and batch.wave is not None:
                batch = replace(batch, wave=None, features=self.cache.front_end(batch.wave, self.levels))
            yield batch


def in_order(segments: SegmentSet, cache: FeatureCache | None = None, **options: Any) -> SegmentLoader:
    """All batches of a set, in the order of its segments; arguments are those of a SegmentLoader."""
    return SegmentLoader(segments, cache, batch_size=BATCH_SIZE, **options)
