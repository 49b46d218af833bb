"""Features that are not stored yet: computed in processes or threads, and written."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from toolkit.contracts import Extractor, Seq
from toolkit.data.cache.ahead import ahead
from toolkit.data.cache.shards import Entry, FrontEndFolder, ShardWriter
from toolkit.data.cache.workers import can_fork, forked
from toolkit.data.front_ends import rows_of
from toolkit.data.segments import SegmentSet
from toolkit.files import DISTRIBUTION

MOST_CORES = 16  # more threads would wait for each other, more processes write small shards
WORTHWHILE = 32  # utterances for which a process is worth its beginning

Rows = dict[str, list[np.ndarray]]  # key of a front end -> of each segment [frames, channels]
Written = dict[str, dict[str, Entry]]  # key of a front end -> key of an utterance -> where its features are


@dataclass
class CachedFrontEnd:
    """A front end whose features are stored.

    Args:
        level: the first of those that have it.
        extractor: of that level.
        folder: where its features are.
        precision: "fp32" or "fp16".
        rate: bytes for each sample of audio.
    """

    level: str
    extractor: Extractor
    folder: FrontEndFolder
    precision: str
    rate: float = 0.0

    @property
    def is_light(self) -> bool:
        """Whether it has no network: then one core a time and utterance is faster than all for each operation."""
        return self.folder.description["frozen"] is None

    @property
    def is_own(self) -> bool:
        """Whether only our code computes it, of which it is known that it may be forked."""
        return set(self.folder.description["code"]) == {DISTRIBUTION}

    def rows(self, wave: Seq) -> list[np.ndarray]:
        """The features of an utterance's segments [segments, samples]: of each [frames, channels]."""
        return rows_of(self.extractor, wave, level=self.level, precision=self.precision)


@dataclass(frozen=True)
class CachedUtterance:
    """An utterance whose features are stored.

    Args:
        key: of its entries.
        segments: the set it belongs to.
        indices: of its segments.
        samples: of all of them, as they are padded.
    """

    key: str
    segments: SegmentSet
    indices: range
    samples: int

    def wave(self) -> Seq:
        """Its segments, read from the file: [segments, samples]."""
        return self.segments.waves(self.indices)


class Filling:
    """Computes what is missing and writes it.

    Args:
        front_ends: by key.
        missing: key of a front end -> keys of utterances.
        utterances: of which something is missing.
        device: where features are computed.
        progress: whether to draw a bar on standard error.
    """

    def __init__(
        self,
        front_ends: Mapping[str, CachedFrontEnd],
        missing: Mapping[str, Collection[str]],
        utterances: Sequence[CachedUtterance],
        *,
        device: str,
        progress: bool,
    ):
        self.front_ends = {key: front_ends[key] for key in missing}
        self.missing, self.utterances = missing, utterances
        self.device, self.progress = device, progress
        on_cpu = torch.device(device).type == "cpu"
        self._light = [key for key, front_end in self.front_ends.items() if on_cpu and front_end.is_light]
        self._cores = min(MOST_CORES, torch.get_num_threads())
        self._processes = min(self._cores, len(utterances) // WORTHWHILE)

    def fill(self) -> None:
        """Compute and write all that is missing.

        Raises:
            AudioError: if a file cannot be read. CacheError: if features cannot be written.
        """
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not self.progress) as bar:
            task = bar.add_task("features", total=len(self.utterances))
            for done in chain(self._in_processes(), self._in_threads()):
                bar.advance(task, done)

    def _in_processes(self) -> Iterator[int]:
        """Fill what processes can; yields how many utterances were computed."""
        light = len(self._light) == len(self.front_ends) and all(f.is_own for f in self.front_ends.values())
        if not (light and can_fork() and self._processes > 1):
            return
        with closing(forked(self._share, self.utterances, processes=self._processes)) as results:
            for done, written in results:
                for key, entries in written.items():
                    self.front_ends[key].folder.entries |= entries
                yield done

    def _share(self, utterances: Sequence[CachedUtterance]) -> Iterator[tuple[int, Written]]:
        """Fill a share, in a process of its own: utterances computed, and what was written with them."""
        together = self._processes
        writers = {key: ShardWriter(front_end.folder, writers=together) for key, front_end in self.front_ends.items()}
        with suppress(Exception):  # what was computed is written; the rest is done again where errors are told
            for utterance in utterances:
                rows = self._rows(utterance, utterance.wave(), self._light)
                yield 1, {key: writers[key].add(utterance.key, segments) for key, segments in rows.items()}
        yield 0, {key: writer.flush() for key, writer in writers.items()}

    def _in_threads(self) -> Iterator[int]:
        """Fill what is still missing, while threads read further utterances and do what one core does best."""
        todo = [utterance for utterance in self.utterances if any(self._lack(utterance, self.front_ends))]
        writers = {key: ShardWriter(front_end.folder) for key, front_end in self.front_ends.items()}
        heavy = [key for key in self.front_ends if key not in self._light]

        def begun(utterance: CachedUtterance) -> tuple[Seq, Rows]:
            wave = utterance.wave()
            return wave, self._rows(utterance, wave, self._light)

        try:
            with closing(ahead(begun, todo, threads=self._cores)) as results:
                for utterance, (wave, rows) in zip(todo, results, strict=True):
                    for key, segments in (rows | self._rows(utterance, wave.to(self.device), heavy)).items():
                        writers[key].add(utterance.key, segments)
                    yield 1
        finally:  # what was computed is not lost
            for writer in writers.values():
                writer.flush()

    def _rows(self, utterance: CachedUtterance, wave: Seq, keys: Iterable[str]) -> Rows:
        """What those of some front ends make of an utterance that lack it."""
        return {key: self.front_ends[key].rows(wave) for key in self._lack(utterance, keys)}

    def _lack(self, utterance: CachedUtterance, keys: Iterable[str]) -> Iterator[str]:
        for key in keys:
            if utterance.key in self.missing[key] and utterance.key not in self.front_ends[key].folder.entries:
                yield key
