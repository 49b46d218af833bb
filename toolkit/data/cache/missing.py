"""Compute and store features that are missing, in forked workers where that is faster."""

import multiprocessing
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from toolkit.contracts import Seq
from toolkit.data.cache.files import FeatureFiles
from toolkit.data.segments import Items, SegmentSet
from toolkit.errors import CacheError, ToolkitError, one_line
from toolkit.hardware import begin_worker
from toolkit.terminal import progress as bar

MOST_WORKERS = 16  # each holds an utterance and its features in memory
LEAST_UTTERANCES = 16  # per worker: with fewer, starting it takes longer than it saves
AT_ONCE = 4  # utterances per request to a worker: each answer costs a tenth of a millisecond


@dataclass(frozen=True)
class CachedUtterance:
    """An utterance whose features are stored: its name in the cache, its place in a set, its samples with padding."""

    name: str
    segments: SegmentSet
    index: int
    samples: int


MissingFeatures = list[tuple[CachedUtterance, list[FeatureFiles]]]  # utterances, each with the front ends that lack it


class Computation(Items):
    """Utterances to compute. The process that gets an item computes and stores it, or for a GPU only reads its audio.

    Args: lacking; rows: computes, from a level and segments [segments, samples], what is stored of each; device.
    """

    def __init__(self, lacking: MissingFeatures, rows: Callable[[str, Seq], list[Tensor]], *, device: str):
        self.lacking, self.rows = lacking, rows
        self.on_cpu = torch.device(device).type == "cpu"

    def __len__(self) -> int:
        return len(self.lacking)

    def read(self, index: int) -> Seq | None:
        """The waveforms of an utterance; None if its features are stored already."""
        utterance = self.lacking[index][0]
        wave = utterance.segments.waves(utterance.index)
        return self._store(index, wave) if self.on_cpu else wave

    def compute(self, *, progress: bool) -> None:
        """Compute and store all, with one thread per process, so that bits do not depend on the process.

        Raises: CacheError if a worker is killed; the first ToolkitError of an utterance.
        """
        threads = torch.get_num_threads()
        try:
            items = iter(self._loader(self._workers()))  # forks before the progress bar starts its thread
        except OSError:  # a limit of processes or of memory
            items = iter(self._loader(0))
        try:
            torch.set_num_threads(1)
            for index, one in bar(chain.from_iterable(items), "features", total=len(self), shown=progress):
                if isinstance(one, ToolkitError):
                    raise one
                if one is not None:
                    self._store(index, one)
                utterance, front_ends = self.lacking[index]
                for front_end in front_ends:
                    front_end.intact.add(utterance.name)
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            raise CacheError(
                f"A process that computes features died ({one_line(str(error))}): start the run again, which "
                "computes the rest; if memory is short, OMP_NUM_THREADS=1 computes in one process."
            ) from None
        finally:
            torch.set_num_threads(threads)
            del items  # ends the workers; once only the collector finds them, they are waited for 10 s

    def _store(self, index: int, wave: Seq) -> None:
        utterance, front_ends = self.lacking[index]
        for front_end in front_ends:
            front_end.write(utterance.name, self.rows(front_end.level, wave))

    def _workers(self) -> int:
        """How many workers are worth it: none if few utterances are missing, or forking is not allowed."""
        if sys.platform != "linux" or multiprocessing.current_process().daemon:
            return 0
        most = min(MOST_WORKERS, torch.get_num_threads(), len(os.sched_getaffinity(0)), len(self) // LEAST_UTTERANCES)
        return most if most > 1 else 0

    def _loader(self, workers: int) -> DataLoader:
        forks = {"multiprocessing_context": "fork", "worker_init_fn": begin_worker} if workers else {}
        generator = torch.Generator()  # else the loader draws from the run's
        return DataLoader(self, batch_size=AT_ONCE, collate_fn=list, generator=generator, num_workers=workers, **forks)
