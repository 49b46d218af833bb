"""The feature cache of a run: features of its utterances, read if they are stored, computed if not."""

import hashlib
import json
import multiprocessing
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache, cached_property
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info

from toolkit.contracts import Seq
from toolkit.data.cache.store import LIMIT_VARIABLE, features_folder, limit_bytes, make_room, megabytes
from toolkit.data.front_ends import FeatureFiles, named_front_end, rounded, rows_of
from toolkit.data.segments import Batch, Items, SegmentSet
from toolkit.errors import ToolkitError, one_line
from toolkit.files import sha256
from toolkit.model.system import System
from toolkit.terminal import progress as bar

BATCH_SIZE = 8  # segments of an utterance at a time; the last bits of features depend on it
MOST_WORKERS = 16  # each holds an utterance and its features in memory
LEAST_UTTERANCES = 16  # per worker: with fewer, starting it takes longer than it saves
AT_ONCE = 4  # utterances per request to a worker: each answer costs a tenth of a millisecond


class CachedUtterance(NamedTuple):
    """An utterance whose features are stored."""

    name: str  # in the cache
    segments: SegmentSet
    index: int  # of the utterance in this set
    samples: int  # with padding


Lacking = list[tuple[CachedUtterance, list[FeatureFiles]]]  # utterances, each with the front ends that lack it


class FeatureCache:
    """The features of a run's segments; no process removes what an open cache uses.

    The segments of an utterance go through a front end without others, so that values do not depend on what is stored.
    """

    def __init__(
        self,
        system: System,
        code: Mapping[str, Mapping[str, str]],  # level -> versions of its front end's code
        whole: Sequence[SegmentSet],  # all that the run reads, the training part first
        *,
        limit_mb: float,  # megabytes that the features of `whole` may take on disk; 0 stores none
        precision: str,  # of stored values, fp32 or fp16; they are rounded to it before their first use
        device: str,
        augmented: Collection[str] = (),  # levels whose training features are not stored: their waveforms change
        say: Callable[[str], None] = print,
        progress: bool = False,
    ):
        self.system, self.code, self.whole, self.augmented = system, code, whole, augmented
        self.limit_mb, self.precision, self.device, self.say, self.progress = limit_mb, precision, device, say, progress
        self._sha256 = cache(sha256)  # of each audio file, read once
        self._in_use = ExitStack()

    def close(self) -> None:
        """Let other processes remove the features."""
        self._in_use.close()

    def compute(self, wave: Seq, levels: Collection[str] | None = None) -> dict[str, Seq]:
        """Compute the features of a batch for some levels, by default all: rounded, but not stored."""
        features = self.system.features(wave.to(self.device), levels)
        return {level: rounded(seq, level=level, precision=self.precision) for level, seq in features.items()}

    def completed(self, batch: Batch) -> Batch:
        """Compute a batch's features for the levels whose waveforms it holds."""
        features = {}
        for key, seq in batch.inputs.items():
            features |= {key: seq} if isinstance(key, str) else self.compute(seq, key)
        return replace(batch, inputs=features)

    def files(self, segments: SegmentSet, levels: Sequence[str]) -> dict[str, list[Path]]:
        """Level -> the file of each utterance, after `fill`; nothing if features are not stored."""
        if not (self.front_ends and levels):
            return {}
        names = [utterance.name for utterance in self.fill([segments], levels)]
        return {level: [self.front_ends[level].path(name) for name in names] for level in levels}

    def fill(self, sets: Sequence[SegmentSet], levels: Collection[str] | None = None) -> list[CachedUtterance]:
        """Compute and store what some sets lack, by default for all levels; returns their utterances in order."""
        if not self.front_ends:
            return []
        utterances = [utterance for segments in sets for utterance in self._utterances(segments)]
        incomplete = {one for _, front_ends in self._lacking(utterances, levels) for one in front_ends}
        with ExitStack() as locks:
            for front_end in sorted(incomplete, key=lambda one: one.folder):  # in one order, or two could deadlock
                locks.enter_context(front_end.filling())
            if lacking := self._lacking(utterances, levels):  # other processes may have filled it
                make_room(sum(u.samples * one.rate for u, some in lacking for one in some), say=self.say)
                Computation(self, lacking).run()
        return utterances

    @cached_property
    def front_ends(self) -> dict[str, FeatureFiles]:
        """By level, of which several may share one; none, and nothing is stored, if the run's features do not fit."""
        if not self.limit_mb:
            return {}
        trained, *others = [segments.widths() for segments in self.whole]
        longest = max(map(max, [trained, *others]))
        silence = Seq(torch.zeros(1, longest), torch.tensor([longest]), full=True)  # values do not matter
        of_level: dict[str, FeatureFiles] = {}
        files: dict[str, FeatureFiles] = {}  # by key
        for level, extractor in self.system.levels.items():
            settings = {"segments": self.whole[0], "precision": self.precision, "device": self.device}
            key, description = named_front_end(extractor, code=self.code[level], **settings)
            if key not in files:
                rate = sum(row.nbytes for row in self.rows(level, silence)) / longest
                files[key] = FeatureFiles(features_folder() / key, description, say=self.say, level=level, rate=rate)
            of_level[level] = files[key]
        stored_in_training = {one for level, one in of_level.items() if level not in self.augmented}
        needed = sum(one.rate * sum(map(sum, others)) for one in files.values())
        needed += sum(one.rate * sum(trained) for one in stored_in_training)
        if not self._fits(needed):
            return {}
        for one in files.values():
            self._in_use.enter_context(one.in_use())
        return of_level

    def _fits(self, needed: float) -> bool:
        if needed > self.limit_mb * 1e6:
            self.say(
                f"Features are recomputed in each epoch: they take about {megabytes(needed)}, and "
                f"training.feature_cache_mb is {self.limit_mb:g}."
            )
            return False
        if needed > limit_bytes():
            problem = f"take about {megabytes(needed)}, and {LIMIT_VARIABLE} allows {megabytes(limit_bytes())}"
            raise ToolkitError(f"The features of this run {problem}: raise it, or give --training.feature_cache_mb 0.")
        return True

    def _lacking(self, utterances: Iterable[CachedUtterance], levels: Collection[str] | None = None) -> Lacking:
        by_name = {utterance.name: utterance for utterance in utterances}
        wanted = dict.fromkeys(self.front_ends[level] for level in levels or self.front_ends)
        lacking = ((u, [f for f in wanted if not f.holds(u.name)]) for u in by_name.values())
        return [(utterance, front_ends) for utterance, front_ends in lacking if front_ends]

    def rows(self, level: str, wave: Seq) -> list[Tensor]:
        """The features of an utterance's segments, [segments, samples], as they are stored."""
        rows = []
        for start in range(0, len(wave.lengths), BATCH_SIZE):
            some = slice(start, start + BATCH_SIZE)
            seq = self.compute(Seq(wave.values[some], wave.lengths[some], full=wave.full), [level])[level]
            rows += rows_of(seq, precision=self.precision)
        return rows

    def _utterances(self, segments: SegmentSet) -> list[CachedUtterance]:
        """The utterances of a set, each named by a hash of all that its features depend on besides the front end."""
        widths = segments.widths()
        utterances = []
        for index, (one, indices) in enumerate(zip(segments.utterances, segments.by_utterance, strict=True)):
            cuts = [(segments.segments[i].start, segments.segments[i].stop) for i in indices]
            padded = [widths[i] for i in indices]
            what = [self._sha256(one.path), one.start, one.end, cuts, padded]
            name = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]
            utterances.append(CachedUtterance(name, segments, index, sum(padded)))
        return utterances


class Computation(Items):
    """Utterances to compute: the process that gets one computes and stores it, or for a GPU only reads its audio."""

    def __init__(self, cache: FeatureCache, lacking: Lacking):
        self.cache, self.lacking = cache, lacking
        self.on_cpu = torch.device(cache.device).type == "cpu"

    def __len__(self) -> int:
        return len(self.lacking)

    def read(self, index: int) -> Seq | None:
        """The waveforms of an utterance; None if its features are stored already."""
        utterance = self.lacking[index][0]
        wave = utterance.segments.waves(utterance.index)
        if not self.on_cpu:
            return wave
        with torch.inference_mode(get_worker_info() is not None):  # faster; no tensor of a worker reaches a training
            return self._store(index, wave)

    def _store(self, index: int, wave: Seq) -> None:
        utterance, front_ends = self.lacking[index]
        for front_end in front_ends:
            front_end.write(utterance.name, self.cache.rows(front_end.level, wave))

    def run(self) -> None:
        """Compute and store all, with one thread per process, so that bits do not depend on the process."""
        threads = torch.get_num_threads()
        items = iter(self.loader())  # forks before the progress bar starts its thread
        try:
            torch.set_num_threads(1)
            for index, one in bar(chain.from_iterable(items), "features", total=len(self), shown=self.cache.progress):
                if isinstance(one, ToolkitError):
                    raise one
                if one is not None:
                    self._store(index, one)
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            raise ToolkitError(
                f"A process that computes features died ({one_line(str(error))}): start the run again, which "
                "computes the rest; if memory is short, OMP_NUM_THREADS=1 computes in one process."
            ) from None
        finally:
            torch.set_num_threads(threads)
            del items  # ends the workers; once only the collector finds them, they are waited for 10 s

    def loader(self) -> DataLoader:
        """With workers, unless few utterances are missing or forking is not allowed."""
        workers = min(MOST_WORKERS, torch.get_num_threads(), len(self) // LEAST_UTTERANCES)
        may_fork = sys.platform == "linux" and not multiprocessing.current_process().daemon
        forks = {"multiprocessing_context": "fork", "num_workers": workers} if may_fork and workers > 1 else {}
        generator = torch.Generator()  # else the loader draws from the run's
        return DataLoader(self, batch_size=AT_ONCE, collate_fn=list, generator=generator, **forks)
