"""Front ends, the parts of levels that learn nothing: what their features depend on, and their files on disk."""

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from toolkit.contracts import Extractor, Seq
from toolkit.data.cache.store import DESCRIPTION, REMEDY, SUFFIX, lock_of
from toolkit.data.segments import SegmentSet
from toolkit.errors import RecipeError, ToolkitError, one_line
from toolkit.files import DISTRIBUTION, locked, write_whole
from toolkit.plugins.plugin import blame
from toolkit.plugins.registry import code_version, find_part
from toolkit.recipe.schema import Recipe

DTYPES = {"fp32": torch.float32, "fp16": torch.float16}
LIBRARIES = ("torch", "torchaudio", "transformers", "soundfile", "soxr", "av")
CHECKSUM = "crc32"
KINDS = {"F32": torch.float32, "F16": torch.float16}  # in safetensors


def rounded(features: Seq, *, level: str, precision: str) -> Seq:
    """Round features to the values of a precision, as float32; RecipeError if one is too large for it."""
    if precision == "fp32":
        return Seq(features.values.float(), features.lengths, full=features.full)
    values = features.zeroed().values
    stored = values.to(DTYPES[precision])
    if (stored.isinf() & values.isfinite()).any():
        raise RecipeError(
            f"training.feature_precision is {precision!r}, and features of level {level!r} reach "
            f"{values[values.isfinite()].abs().max().item():.6g}, above {torch.finfo(stored.dtype).max:g}: use fp32."
        )
    return Seq(stored.float(), features.lengths, full=features.full)


def rows_of(features: Seq, *, precision: str) -> list[Tensor]:
    """Rounded features of segments as they are stored, each [frames, channels]."""
    rows = zip(features.values.to(DTYPES[precision]).cpu(), features.lengths.tolist(), strict=True)
    return [row[:length].contiguous() for row, length in rows]


def named_front_end(
    extractor: Extractor, *, code: Mapping[str, str], segments: SegmentSet, precision: str, device: str
) -> tuple[str, dict[str, Any]]:
    """The name of a front end's folder, and what it is a hash of: all that features depend on besides the audio."""
    frozen = {name: weight for name, weight in extractor.named_parameters() if not weight.requires_grad}
    digest = hashlib.sha256()
    for name, parameter in frozen.items():
        values = parameter.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {list(values.shape)}\n".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy())
    try:
        args = json.loads(json.dumps(dict(extractor.front_end_args)))
    except (TypeError, ValueError) as error:
        blame(extractor, f"`front_end_args` must be a dict that JSON can hold: {one_line(error)}.")
    description = {
        "format": 2,  # of the files
        "class": f"{type(extractor).__module__}:{type(extractor).__qualname__}",
        "code": dict(code),
        "args": args,
        "frozen": digest.hexdigest() if frozen else None,
        "sample_rate": segments.sample_rate,
        "fixed_samples": segments.fixed_samples,
        "precision": precision,
        "device": torch.device(device).type,
        "libraries": {name: version(name) for name in LIBRARIES},
    }
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:20], description


def code_of_levels(recipe: Recipe) -> dict[str, dict[str, str]]:
    """Level -> `code_version` of the toolkit; for another distribution's extractor also its own, and its arguments."""
    own = code_version(DISTRIBUTION, frozenset({"toolkit", "toolkit_plugins"}))
    versions: dict[str, dict[str, str]] = {}
    for level, spec in recipe.model.levels.items():
        plugin = find_part("extractor", spec)
        versions[level] = {DISTRIBUTION: own}
        if not plugin.declaration.own:
            name = plugin.declaration.distribution
            versions[level][name] = code_version(name, frozenset({plugin.package}))
            # nothing here checks that its front_end_args hold all that its features depend on
            versions[level]["arguments"] = json.dumps(dict(spec.args), sort_keys=True)
    return versions


class FeatureFiles:
    """The files of one front end, one for each utterance with a tensor for each of its segments."""

    def __init__(
        self, folder: Path, description: Mapping, *, say: Callable[[str], None], level: str = "", rate: float = 0.0
    ):
        self.folder, self.description, self.say = folder, dict(description), say
        self.level, self.rate = level, rate  # the first level that uses it; stored bytes per sample of audio
        self._intact: set[str] = set()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let no process remove the files meanwhile; the time counts as their last use."""
        with ExitStack() as stack:
            with suppress(OSError):  # the folder may be read-only, or not be there yet
                self.folder.parent.mkdir(parents=True, exist_ok=True)
                lock_of(self.folder).touch()
                stack.enter_context(locked(lock_of(self.folder), wait=True, shared=True))
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
        """Store features of an utterance's segments, each [frames, channels]. Raises: ToolkitError if that fails."""
        content = save({str(n): row.numpy() for n, row in enumerate(rows)}, metadata={CHECKSUM: _checksum(rows)})
        write_whole(self.path(utterance), content, ToolkitError, REMEDY)

    @contextmanager
    def filling(self) -> Iterator[None]:
        """Be the only process that computes this front end. Raises: ToolkitError if its folder cannot be locked."""
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
                raise ToolkitError(f"{lock} cannot be locked ({error.strerror or error}): {REMEDY}.") from error
            if not os.path.isfile(self.folder / DESCRIPTION):
                write_whole(self.folder / DESCRIPTION, json.dumps(self.description) + "\n", ToolkitError, REMEDY)
            yield


def read_segment(path: Path, number: int) -> Tensor:
    """The features of an utterance's segment: [frames, channels], float32; ToolkitError if the file has changed."""
    try:  # the format is parsed here: `safe_open` maps the file, which takes longer than reading a segment
        with path.open("rb", buffering=0) as file:
            tensor = json.loads(file.read(int.from_bytes(file.read(8), "little")))[str(number)]
            file.seek(tensor["data_offsets"][0], os.SEEK_CUR)
            row = torch.empty(tensor["shape"], dtype=KINDS[tensor["dtype"]])
            if file.readinto(row.numpy()) != row.nbytes:
                raise ValueError("it is truncated")
            return row.float()
    except (OSError, ValueError, KeyError) as error:
        raise ToolkitError(f"{path} was whole when the run began ({one_line(error)}): start the run again.") from None


def _checksum(rows: Sequence[Tensor]) -> str:
    checksum = zlib.crc32(str([(row.dtype, row.shape) for row in rows]).encode())
    for row in rows:
        checksum = zlib.crc32(row.numpy(), checksum)
    return f"{checksum:08x}"
