"""What is fixed is computed once: front ends' features on disk, shared by folds, seeds, systems and processes."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from toolkit.contracts import Extractor, Seq
from toolkit.data.cache.ahead import ahead
from toolkit.data.cache.filling import CachedFrontEnd, CachedUtterance, Filling
from toolkit.data.cache.shards import Entry, FrontEndFolder, Shard
from toolkit.data.cache.store import LIMIT, features_folder, limit_bytes, lock_of, locked, make_room, megabytes
from toolkit.data.front_ends import (
    BATCH_SIZE,
    DTYPES,
    Waveform,
    features_of,
    front_end_description,
    front_end_key,
)
from toolkit.data.segments import SegmentLoader, SegmentSet
from toolkit.errors import AudioError, CacheError
from toolkit.files import DISTRIBUTION
from toolkit.model.system import System

WAVEFORM = "the waveform"  # no name of a level
JUDGED = 4  # utterances by which it is judged whether all fit


class FeatureCache:
    """The features of one run's segments: mapped from disk where they are there, computed and stored where not.

    An utterance's segments are computed together, without others, so that values do not depend on what is stored. Where
    features do not fit and files have to be resampled, the waveforms are kept instead, if these fit.

    Args:
        system: whose levels' front ends are used, on `device` already.
        code: level -> versions of the code that its front end consists of.
        whole: all sets that the run reads; whether they fit is judged by the first utterances.
        limit_mb: megabytes that the features of `whole` may take on disk; 0 is never.
        precision: "fp32" or "fp16", in which values are stored; they are rounded to it before their first use.
        device: where they are computed.
        say: prints a line for the reader.
        progress: whether to draw a bar on standard error.
    """

    def __init__(
        self,
        system: System,
        code: Mapping[str, Mapping[str, str]],
        whole: Sequence[SegmentSet],
        *,
        limit_mb: float,
        precision: str,
        device: str,
        say: Callable[[str], None] = print,
        progress: bool = False,
    ):
        self.system, self.code, self.whole = system, code, whole
        self.limit_mb, self.precision, self.device = limit_mb, precision, device
        self.say, self.progress = say, progress
        self._fits: bool | None = None if limit_mb else False
        self._waits = False
        self._contents: dict[Path, str] = {}  # audio file -> hash
        self._keys: dict[str, str] = {}  # level -> key of its front end
        self._front_ends: dict[str, CachedFrontEnd] = {}

    def front_end(self, wave: Seq) -> dict[str, Seq]:
        """What the levels' front ends make of a batch, computed now and rounded as what is stored."""
        return features_of(self.system.levels, wave.to(self.device), precision=self.precision)

    def give(self, sets: Sequence[SegmentSet]) -> bool:
        """Give the sets their features, if the run's fit.

        Returns:
            Whether they fit; sets stay as they are otherwise.

        Raises:
            CacheError: if the cache cannot be written. RecipeError: if a value is too large for the precision.
            AudioError: if a file cannot be read.
        """
        if self._fits is None:
            self._open()
            first = self._utterances(self.whole[0], JUDGED)
            self._provide(first)
            self._judge(first)
        if not self._keys:
            return False
        utterances = [self._utterances(segments) for segments in sets]
        self._provide([utterance for found in utterances for utterance in found])
        for segments, found in zip(sets, utterances, strict=True):
            rows = {
                level: StoredRows(self._front_ends[key].folder.entries[u.key] for u in found)
                for level, key in self._keys.items()
            }
            segments.kept = rows.pop(WAVEFORM, None)
            segments.features = rows or None
        return self._fits

    def _open(self) -> None:
        """Find out which front ends there are: levels may share one."""
        for level, extractor in self.system.levels.items():
            self._add(level, extractor, self.code[level], self.precision)

    def _add(self, level: str, extractor: Extractor, code: Mapping[str, str], precision: str) -> CachedFrontEnd:
        description = front_end_description(
            extractor,
            level=level,
            code=code,
            sample_rate=self.whole[0].sample_rate,
            fixed_samples=self.system.fixed_samples,
            precision=precision,
            device=self.device,
        )
        self._keys[level] = key = front_end_key(description)
        if key not in self._front_ends:
            folder = FrontEndFolder(features_folder() / key, description)
            self._front_ends[key] = CachedFrontEnd(level, extractor, folder, precision)
        return self._front_ends[key]

    def _provide(self, utterances: Sequence[CachedUtterance]) -> None:
        """Find or compute the features of some utterances, every front end's."""
        wanted = {utterance.key: utterance for utterance in utterances}
        keys = [key for key in sorted(self._front_ends) if self._missing(key, wanted)]  # one order, or two could wait
        with ExitStack() as locks:
            for key in keys:
                locks.enter_context(locked(lock_of(self._front_ends[key].folder.path), say=self._say_that_it_waits))
            missing = {key: self._missing(key, wanted) for key in keys}  # another process may have computed them
            for key in keys:
                self._front_ends[key].folder.clean()
            if any(missing.values()):
                self._make_room(missing, wanted)
                todo = [utterance for key, utterance in wanted.items() if any(key in some for some in missing.values())]
                Filling(self._front_ends, missing, todo, device=self.device, progress=self.progress).fill()

    def _missing(self, key: str, wanted: Mapping[str, CachedUtterance]) -> set[str]:
        folder = self._front_ends[key].folder
        folder.find(wanted, say=self.say)
        return wanted.keys() - folder.entries.keys()

    def _make_room(self, missing: Mapping[str, set[str]], wanted: Mapping[str, CachedUtterance]) -> None:
        if self._fits is not None:
            sizes = (self._front_ends[key].rate * sum(wanted[u].samples for u in some) for key, some in missing.items())
            keep = [front_end.folder.path for front_end in self._front_ends.values()]
            make_room(features_folder(), sum(sizes), keep=keep, say=self.say)

    def _judge(self, first: Sequence[CachedUtterance]) -> None:
        """Decide by some utterances, whose features are there, whether those of the whole run fit."""
        samples = sum(utterance.samples for utterance in first)
        size = DTYPES[self.precision].itemsize
        for front_end in self._front_ends.values():
            values = sum(front_end.folder.entries[utterance.key].values for utterance in first)
            front_end.rate = values * size / samples
        in_all = sum(width for segments in self.whole for width in segments.widths())
        needed = sum(front_end.rate for front_end in self._front_ends.values()) * in_all
        self._fits = needed <= self.limit_mb * 1e6
        if not self._fits:
            self.say(
                f"Features are computed anew in each epoch: about {megabytes(needed)}, and training.feature_cache_mb "
                f"is {self.limit_mb:g}."
            )
            self._keep_waveforms(in_all)
        elif needed > limit_bytes():
            raise CacheError(
                f"The features of this run take about {megabytes(needed)}, and {LIMIT} allows "
                f"{megabytes(limit_bytes())}: raise it, or give --training.feature_cache_mb 0."
            )

    def _keep_waveforms(self, samples: int) -> None:
        """Keep no features, and waveforms if some would be resampled again and again, where so many samples fit."""
        self._keys, self._front_ends = {}, {}
        needed, resampled = samples * DTYPES["fp32"].itemsize, any(segments.resampled for segments in self.whole)
        if resampled and needed <= min(self.limit_mb * 1e6, limit_bytes()):
            code = {name: of for code in self.code.values() for name, of in code.items() if name == DISTRIBUTION}
            self._add(WAVEFORM, Waveform(), code, "fp32").rate = needed / samples
            self.say(f"Waveforms at the system's rate are kept instead: about {megabytes(needed)}.")

    def _utterances(self, segments: SegmentSet, limit: int | None = None) -> list[CachedUtterance]:
        """The utterances of a set, with the keys of their entries; the first of them."""
        widths, found = segments.widths(), []
        self._read_contents(utterance.path for utterance in segments.utterances[:limit])
        for index, indices in enumerate(segments.by_utterance()[:limit]):
            utterance = segments.utterances[index]
            cuts = [(segments.segments[i].start, segments.segments[i].stop) for i in indices]
            what = [self._contents[utterance.path], utterance.start, utterance.end, cuts, [widths[i] for i in indices]]
            samples = sum(widths[i] for i in indices)
            found.append(CachedUtterance(_sha256(json.dumps(what))[:32], segments, indices, samples))
        return found

    def _read_contents(self, paths: Iterable[Path]) -> None:
        """Find the hash of each file."""
        new = [path for path in dict.fromkeys(paths) if path not in self._contents]
        with closing(ahead(_file_sha256, new, threads=torch.get_num_threads())) as hashes:
            self._contents |= zip(new, hashes, strict=True)

    def _say_that_it_waits(self, line: str) -> None:
        if not self._waits:
            self.say(line)
        self._waits = True


class StoredRows(Sequence[Tensor]):
    """The features of segments, one after another: each [frames, channels], float32, a view of a mapped file.

    Args:
        entries: of the utterances in order.
    """

    def __init__(self, entries: Iterable[Entry]):
        shards: dict[Path, int] = {}
        self._shards: list[Shard] = []
        spans = []
        for entry in entries:
            place = shards.setdefault(entry.shard.path, len(shards))
            if place == len(self._shards):
                self._shards.append(entry.shard)
            spans += [(place, *span, entry.channels) for span in entry.spans()]
        self._spans = np.array(spans, dtype=np.int64).reshape(-1, 4)  # no objects: processes that read share the pages

    def __len__(self) -> int:
        return len(self._spans)

    def __getitem__(self, index: int) -> Tensor:
        place, start, frames, channels = self._spans[index].tolist()
        values = self._shards[place].values[start : start + frames * channels].reshape(frames, channels)
        return torch.from_numpy(values).float()


def in_order(segments: SegmentSet, front_end: Callable[[Seq], Mapping[str, Seq]] | None = None) -> SegmentLoader:
    """All batches of a set, in the order of its segments; `front_end` as for a SegmentLoader."""
    return SegmentLoader(segments, batch_size=BATCH_SIZE, collate_fn=segments.collate, front_end=front_end)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise AudioError(f"{path} cannot be read: {error.strerror or error}") from None
    return digest.hexdigest()
