"""The small system with its data and a feature cache, for the tests of the cache; what counts as computed."""

import os
import signal
import time
from pathlib import Path

import torch

from toolkit.data.cache.features import FeatureCache
from toolkit.data.cache.store import SUFFIX, features_folder
from toolkit.data.loaders import SegmentLoader
from toolkit.files import DISTRIBUTION
from toolkit.model.system import build_system
from toolkit.training.preparation import load_source, prepare
from toolkit.training.run_data import RunData


class Parts:
    """The small system, its data, and what is computed and said when features are asked for.

    Args:
        recipe: the small one.
        options: overrides of it.
    """

    def __init__(self, recipe: Path, *options: str):
        preparation = prepare(load_source(recipe, list(options)))
        torch.manual_seed(0)
        self.system = build_system(preparation.source.recipe, preparation.targets).eval()
        self.data = RunData(preparation, fixed_samples=self.system.fixed_samples)
        self.computed: list[str] = []  # level, once for each call of its front end with sound
        self.said: list[str] = []
        for name, level in self.system.levels.items():
            level.features = self._counting(name, level.features)

    @property
    def sets(self):
        return [self.data.train, self.data.evaluation]

    def cache(self, *, limit_mb: float = 10, precision: str = "fp32", code: str = "1") -> FeatureCache:
        return FeatureCache(
            self.system,
            {level: {DISTRIBUTION: code} for level in self.system.levels},
            self.sets,
            limit_mb=limit_mb,
            precision=precision,
            device="cpu",
            say=self.said.append,
        )

    def fill(self, **options) -> "Parts":
        """Fill a cache, and close it."""
        self.rows_by_level = {}
        cache = self.cache(**options)
        try:
            for segments in self.sets:
                dataset = SegmentLoader(segments, cache).dataset
                for segment, (_, rows) in zip(
                    segments.segments, map(dataset.__getitem__, range(len(segments))), strict=True
                ):
                    key = segments.utterances[segment.utterance].path.name, segment.start
                    for level, values in rows.items():
                        self.rows_by_level.setdefault(level, {})[key] = values.clone()
        finally:
            cache.close()
        return self

    def rows(self, level: str = "mfcc") -> dict[tuple, torch.Tensor]:
        """What was read after filling: by file and first sample, of each segment [frames, channels]."""
        return self.rows_by_level[level]

    def _counting(self, name, features):
        def counted(wave):
            if wave.values.any():  # silence is computed for its size
                self.computed.append(name)
            return features(wave)

        return counted


def same(one: dict, other: dict) -> bool:
    """Whether the same segments have the same bits."""
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def stored_files() -> list[Path]:
    """The files of all utterances, the last written first."""
    return sorted(features_folder().glob(f"*/*{SUFFIX}"), key=lambda path: -path.stat().st_mtime_ns)


def fill_in_child(recipe: Path, folder: Path, log: Path, barrier=None, kill_at: int | None = None) -> None:
    """Fill a cache, slowly; where asked, begin with others, or die of SIGKILL at the nth utterance."""
    torch.set_num_threads(1)
    os.environ["TOOLKIT_CACHE"] = str(folder)
    parts = Parts(recipe)
    features = parts.system.levels["mfcc"].features

    def slow(wave):
        if len(parts.computed) + 1 == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.01)
        return features(wave)

    parts.system.levels["mfcc"].features = slow
    if barrier is not None:
        barrier.wait()
    parts.fill()
    log.write_text(f"{len(parts.computed)}\n" + "\n".join(parts.said))
