"""Recordings: a file or a stretch of it, a file in memory, samples; and those of a command line. Imports no torch."""

import codecs
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from numbers import Real
from pathlib import Path
from shutil import copyfileobj
from tempfile import NamedTemporaryFile
from typing import Any, BinaryIO, ClassVar

import numpy as np

from toolkit.audio.reading import AUDIO_SUFFIXES, DIVIDE, HIGHEST, check_samples, files_below, stretch
from toolkit.audio.waves import Resampler, through, waves
from toolkit.corpus.manifests import SUFFIXES as MANIFEST_SUFFIXES
from toolkit.corpus.manifests import file_and_times, read_rows
from toolkit.errors import AudioError, CorpusError, PredictionError, ShapeError, ToolkitError, counted, join, one_line
from toolkit.inference.predict.covariates import check_columns, columns_of, covariates_of

STANDARD_INPUT = "-"
MOST_CHANNELS = 64  # an array with more needs to be transposed
Report = Callable[[str], object]
_BINARY = re.compile(rb"[\0-\x08\x0e-\x1f]")


@dataclass(frozen=True)
class Recording:
    """An audio file, or a stretch of it."""

    path: Path | bytes | BinaryIO  # or its bytes, or a binary file object, which is read from its position to its end
    start_s: float | None = None  # where the stretch begins, in seconds; None is the start of the file
    end_s: float | None = None  # None is its end
    covariates: Mapping[str, str | None] = field(default_factory=dict)  # name -> value, of those that the system needs
    name: str = ""  # its name in results; by default the path as it is given
    where: str = ""  # the row of a manifest, appended to errors: " (calls.csv:2)"
    below: str = ""  # its path below the folder that was searched; by default the file's name

    def __post_init__(self):
        on_disk = isinstance(self.path, str | os.PathLike)
        name = str(self.path if on_disk else getattr(self.path, "name", "the file in memory"))
        object.__setattr__(self, "name", self.name or name)
        object.__setattr__(self, "path", Path(self.path) if on_disk else self.path)
        object.__setattr__(self, "below", self.below or Path(name).name)

    def waves(self, sample_rate: int) -> Iterator[np.ndarray]:
        """Its blocks at a rate in Hz, each [samples], float32, the mean of channels; errors as for `read_audio`.

        What is in memory is copied to a temporary file while it is read.
        """
        if isinstance(self.path, Path):
            yield from waves(stretch(self.path, start_s=self.start_s, end_s=self.end_s), sample_rate)
            return
        try:
            with NamedTemporaryFile() as copy:
                copyfileobj(self.path if hasattr(self.path, "read") else BytesIO(self.path), copy)
                copy.flush()
                if not copy.tell():
                    reason = "has no bytes to read: it is empty, or has been read to its end"
                    raise AudioError(f"{self.name} {reason}", "empty")
                yield from replace(self, path=Path(copy.name)).waves(sample_rate)
        except AudioError as error:
            raise AudioError(str(error).replace(copy.name, self.name), error.kind) from None
        except (OSError, TypeError, ValueError) as error:
            needed = "an open binary file object is needed, as from open(path, 'rb'), and room for a copy"
            raise AudioError(f"{self.name} cannot be read ({one_line(error)}): {needed}") from None


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples in memory, checked; errors as for `Model.predict`."""

    values: Any  # as for `Model.predict`
    sample_rate: int  # in Hz
    covariates: Mapping[str, str | None] = field(default_factory=dict)
    name: str = "the array"  # in errors
    start_s: ClassVar[None] = None

    def __post_init__(self):
        object.__setattr__(self, "sample_rate", whole_rate(self.sample_rate))
        object.__setattr__(self, "values", mono(self.values))

    def waves(self, sample_rate: int) -> Iterator[np.ndarray]:
        """Its blocks at a rate in Hz, each [samples], float32, the mean of channels."""
        return through(Resampler(self.sample_rate, sample_rate), [self.values])


AnyRecording = Recording | Samples


def recording_of(
    audio: Any, sample_rate: int | None = None, covariates: Mapping[str, str] | None = None
) -> AnyRecording:
    """The recording that `Model.predict` is given; errors are those of `Model.predict`."""
    if isinstance(audio, str | os.PathLike | bytes | bytearray | memoryview) or hasattr(audio, "read"):
        return Recording(audio, covariates=covariates or {})
    if not hasattr(audio, "__array__"):
        needed = "a path, the bytes of a file, a binary file object, an array or a tensor is needed"
        raise PredictionError(f"{one_line(repr(audio))} is not audio: {needed}; predict_many takes several recordings")
    if sample_rate is None:
        raise PredictionError("The sample rate of an array is needed, in Hz: for example sample_rate=16000")
    return Samples(audio, sample_rate, covariates or {})


@dataclass(frozen=True)
class RecordingSources:
    """The recordings that a command line names; ToolkitError if a manifest cannot be read or lacks a column."""

    names: Sequence[str]  # paths of files, folders and manifests; `-` for standard input
    covariates: Mapping[str, str]  # of `--covariate`: a value for all recordings, or `@` and a column of manifests
    columns: Mapping[str, str] | None  # the names of manifests' columns, as in `read_manifest`

    def __post_init__(self):
        manifests = [name for name in self.names if _is_manifest(name)]
        if (self.columns or columns_of(self.covariates)) and not manifests and STANDARD_INPUT not in self.names:
            found = f"{join(self.names, 'or')} is not one"
            raise PredictionError(f"--columns and --covariate NAME=@COLUMN name columns of a manifest, and {found}")
        for name in manifests:
            self._rows(name)

    def count(self) -> int | None:
        """How many recordings there are; None if they come from standard input, which can be read only once."""
        return None if STANDARD_INPUT in self.names else sum(1 for _ in self.recordings())

    def recordings(self, report: Report = lambda _: None, note: Report = lambda _: None) -> Iterator[Recording]:
        """Find the recordings one by one; `report` what cannot be used, `note` files that are not audio by name."""
        given = covariates_of(self.covariates)
        for name in self.names:
            for path in _lines() if name == STANDARD_INPUT else [name]:
                if _is_manifest(path):
                    yield from self._in_manifest(path, report)
                elif os.path.isdir(path):
                    yield from _in_folder(path, given, report, note)
                else:
                    yield Recording(Path(path), covariates=given, name=path)

    def _rows(self, manifest: str) -> list[tuple[int, dict[str, str]]]:
        rows = list(read_rows(manifest, required=["path"], columns=self.columns))
        check_columns(self.covariates, dict.fromkeys(column for _, row in rows for column in row), manifest)
        return rows

    def _in_manifest(self, manifest: str, report: Report) -> Iterator[Recording]:
        try:
            rows = self._rows(manifest)
        except ToolkitError as error:  # of a manifest that standard input names
            report(str(error))
            return
        for line, row in rows:
            try:
                file, start_s, end_s = file_and_times(Path(manifest), row)
            except CorpusError as error:
                report(f"{manifest}:{line}: {error}")
            else:
                where = f" ({manifest}:{line})"
                yield Recording(file, start_s, end_s, covariates_of(self.covariates, row.get), where=where)


def _in_folder(folder: str, covariates: Mapping[str, str | None], report: Report, note: Report) -> Iterator[Recording]:
    found, others = False, Counter()
    for path in files_below(Path(folder), report):
        if path.suffix.lower() in AUDIO_SUFFIXES:
            found = True
            yield Recording(path, covariates=covariates, below=str(path.relative_to(folder)))
        else:
            others[path.suffix.lower() or "no ending"] += 1
    if others:
        kinds = ", ".join(f"{suffix} ({count})" for suffix, count in others.most_common(5))
        note(f"{counted(others.total(), 'file')} in {folder} passed over, not audio by name: {kinds}")
    if not found:
        report(f"{folder} holds no audio file ({', '.join(sorted(AUDIO_SUFFIXES))})")


def _lines() -> Iterator[str]:
    """The paths on standard input."""
    for line in iter(lambda: sys.stdin.buffer.readline(1 << 16), b""):  # in parts, since audio has no lines
        if _BINARY.search(line):
            needed = "save audio to a file, and name the file"
            raise PredictionError(f"Standard input is not a list of paths, one per line: {needed}")
        if path := line.removeprefix(codecs.BOM_UTF8).rstrip(b"\r\n"):
            yield os.fsdecode(path)


def _is_manifest(name: str) -> bool:
    return Path(name).suffix.lower() in MANIFEST_SUFFIXES and not os.path.isdir(name)


def whole_rate(rate: Any) -> int:
    """A sample rate, checked: PredictionError if it is not a whole number from 1 to `HIGHEST`."""
    if not isinstance(rate, Real) or rate % 1 or not 1 <= rate <= HIGHEST:
        needed = f"a whole number of Hz up to {HIGHEST:,} is needed, for example 16000"
        raise PredictionError(f"sample_rate is {rate!r}; {needed}")
    return int(rate)


def mono(values: Any) -> np.ndarray:
    """The mean of [samples] or [channels, samples] over channels: [samples], float32; errors as for `Samples`."""
    if hasattr(values, "detach"):  # a torch tensor, perhaps on a GPU
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values  # numpy has no bfloat16
    values = np.asarray(values)
    shape = list(values.shape)
    if values.ndim not in (1, 2):
        raise ShapeError(f"samples are [samples] or [channels, samples], not {shape}")
    if not values.size:
        raise AudioError(f"the array holds no samples: {shape}")
    if values.ndim == 2 and shape[0] > MOST_CHANNELS:
        raise ShapeError(f"samples are [channels, samples], and {shape} has {shape[0]} channels: transpose it")
    if not np.issubdtype(values.dtype, np.floating):
        raise ShapeError(f"samples are floating-point numbers with full scale at 1, not {values.dtype}: {DIVIDE}")
    values = values.astype(np.float32)
    check_samples(values, "the array")
    return values.mean(axis=0) if values.ndim == 2 else values
