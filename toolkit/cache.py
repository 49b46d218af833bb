"""What is fixed is computed once: the front ends' features of a run's segments, kept in memory."""

from collections.abc import Sequence

from rich.console import Console
from rich.progress import track
from torch import Tensor

from toolkit.model import System
from toolkit.segments import SegmentLoader, SegmentSet

BATCH_SIZE = 32  # what the values are computed in; a part of what decides their last bits


def keep_features(
    system: System, sets: Sequence[SegmentSet], *, limit_mb: float, device: str, progress: bool = False
) -> bool:
    """Compute the features of all segments and keep them in the sets, if they fit.

    Args:
        system: whose levels' front ends are used.
        sets: what is read for it; all or none of them get features.
        limit_mb: megabytes that all features together may take.
        device: where they are computed; they are kept in main memory.
        progress: whether to draw a bar on standard error.

    Returns:
        Whether they fit, judged by the first batch.
    """
    count = sum(map(len, sets))
    kept: list[dict[str, list[Tensor]]] = [{name: [] for name in system.levels} for _ in sets]
    batches = ((index, batch) for index, segments in enumerate(sets) for batch in in_order(segments))
    total = sum(-(-len(segments) // BATCH_SIZE) for segments in sets)
    bar = track(batches, "features", total=total, console=Console(stderr=True), transient=True, disable=not progress)
    for done, (index, batch) in enumerate(bar):
        features = system.features(batch.wave.to(device))
        if done == 0:
            size = sum(seq.values[0].numel() * seq.values.element_size() for seq in features.values())
            if size * count > limit_mb * 1e6:
                return False
        for name, seq in features.items():
            rows = zip(seq.values.cpu(), seq.lengths.tolist(), strict=True)
            kept[index][name] += [values[:length].clone() for values, length in rows]
    for segments, features in zip(sets, kept, strict=True):
        segments.features = features
    return True


def in_order(segments: SegmentSet) -> SegmentLoader:
    """All batches of a set, in the order of its segments."""
    return SegmentLoader(segments, batch_size=BATCH_SIZE, collate_fn=segments.collate)
