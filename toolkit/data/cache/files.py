"""A front end's features on disk: a safetensors file for each utterance, with a tensor for each of its segments."""

import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from toolkit.data.cache.store import DESCRIPTION, REMEDY, SUFFIX, lock_of
from toolkit.errors import CacheError, one_line
from toolkit.files import locked, write_whole

CHECKSUM = "crc32"
KINDS = {"F32": torch.float32, "F16": torch.float16}


class FeatureFiles:
    """The files of one front end, in a folder that is made when needed.

    Args: folder, description: of the front end; level: the first that uses it; rate: stored bytes per sample of audio.
    """

    def __init__(
        self, folder: Path, description: Mapping, *, say: Callable[[str], None], level: str = "", rate: float = 0.0
    ):
        self.folder, self.description, self.say = folder, dict(description), say
        self.level, self.rate = level, rate
        self._intact: set[str] = set()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let no process remove the files meanwhile; the time counts as their last use."""
        with ExitStack() as stack:
            with suppress(OSError):  # the folder may be read-only
                self.folder.parent.mkdir(parents=True, exist_ok=True)
                lock_of(self.folder).touch()
                stack.enter_context(locked(lock_of(self.folder), wait=True, shared=True))
            with suppress(OSError):  # it is not there yet, or read-only
                os.utime(self.folder / DESCRIPTION)
            yield

    def path(self, utterance: str) -> Path:
        """The file of an utterance, by its name in the cache."""
        return self.folder / f"{utterance}{SUFFIX}"

    def holds(self, utterance: str) -> bool:
        """Whether an utterance is there and intact; a damaged file is reported and deleted."""
        if utterance in self._intact:
            return True
        path = self.path(utterance)
        try:
            with safe_open(path, "pt") as file:
                rows = [file.get_tensor(str(number)) for number in range(len(file.keys()))]
                if file.metadata() != {CHECKSUM: _checksum(rows)}:
                    raise ValueError("its checksum does not match")
        except FileNotFoundError:
            return False
        except (SafetensorError, ValueError) as error:
            self.say(f"A file of the feature cache is damaged and computed again: {path} ({one_line(error)})")
            path.unlink(missing_ok=True)
            return False
        self._intact.add(utterance)
        return True

    def write(self, utterance: str, rows: Sequence[Tensor]) -> None:
        """Store features of an utterance's segments, each [frames, channels]. Raises: CacheError if that fails."""
        content = save({str(n): row for n, row in enumerate(rows)}, metadata={CHECKSUM: _checksum(rows)})
        write_whole(self.path(utterance), content, CacheError, REMEDY)

    @contextmanager
    def filling(self) -> Iterator[None]:
        """Be the only process that computes this front end. Raises: CacheError if its folder cannot be locked."""
        lock = self.folder / "filling"
        with ExitStack() as stack:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                if not stack.enter_context(locked(lock, wait=False)):
                    self.say(f"Waiting for another process that computes the same features: {self.folder}")
                    stack.enter_context(locked(lock, wait=True))
                for unfinished in self.folder.glob(".*.partial"):  # left by a killed process
                    unfinished.unlink()
            except OSError as error:
                raise CacheError(f"{lock} cannot be locked ({error.strerror or error}): {REMEDY}.") from error
            if not os.path.isfile(self.folder / DESCRIPTION):
                write_whole(self.folder / DESCRIPTION, json.dumps(self.description) + "\n", CacheError, REMEDY)
            yield


def read_segment(path: Path, number: int) -> Tensor:
    """The features of an utterance's segment: [frames, channels], float32; CacheError if the file is gone or damaged.

    The format is parsed here, since `safe_open` maps the file, which takes longer than reading a segment.
    """
    try:
        with path.open("rb", buffering=0) as file:
            tensor = json.loads(file.read(int.from_bytes(file.read(8), "little")))[str(number)]
            file.seek(tensor["data_offsets"][0], os.SEEK_CUR)
            row = torch.empty(tensor["shape"], dtype=KINDS[tensor["dtype"]])
            if file.readinto(row.numpy()) != row.nbytes:
                raise ValueError("it is truncated")
            return row.float()
    except (OSError, ValueError, KeyError) as error:
        raise CacheError(f"{path} was whole when the run began ({one_line(error)}): start the run again.") from None


def _checksum(rows: Sequence[Tensor]) -> str:
    """The CRC-32 of dtypes, shapes and values."""
    checksum = zlib.crc32(str([(row.dtype, row.shape) for row in rows]).encode())
    for row in rows:
        checksum = zlib.crc32(row.numpy(), checksum)
    return f"{checksum:08x}"
