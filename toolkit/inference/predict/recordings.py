"""Recordings: a file or a stretch of it, a file in memory, samples; and those of a command line. Imports no torch."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from numbers import Real
from pathlib import Path
from shutil import copyfileobj
from tempfile import NamedTemporaryFile
from typing import Any, BinaryIO, ClassVar

import numpy as np

from toolkit.audio.reading import AUDIO_SUFFIXES, DIVIDE, HIGHEST, check_samples, files_below
from toolkit.corpus import file_and_times, read_rows
from toolkit.corpus.manifests import SUFFIXES as MANIFEST_SUFFIXES
from toolkit.errors import (
    AudioError,
    CorpusError,
    PredictionError,
    ShapeError,
    ToolkitError,
    counted,
    did_you_mean,
    join,
    one_line,
)
from toolkit.inference.predict.covariates import GivenCovariates

STANDARD_INPUT = "-"
MOST_CHANNELS = 64  # of a chunk; one with more needs to be transposed
Report = Callable[[str], object]
_BINARY = re.compile(rb"[\0-\x08\x0e-\x1f]")


@dataclass(frozen=True)
class Recording:
    """An audio file, or a stretch of it."""

    path: Path
    start_s: float | None = None  # where the stretch begins, in seconds; None is the start of the file
    end_s: float | None = None  # None is its end
    covariates: Mapping[str, str] = field(default_factory=dict)  # name -> value, of those that the system needs
    name: str = ""  # its name in results; by default the path as it is given
    where: str = ""  # the row of a manifest, appended to errors: " (calls.csv:2)"
    below: str = ""  # its path below the folder that was searched; by default the file's name

    def __post_init__(self):
        object.__setattr__(self, "name", self.name or str(self.path))
        object.__setattr__(self, "path", Path(self.path))
        object.__setattr__(self, "below", self.below or self.path.name)


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples in memory.

    Raises: ShapeError if the values have another shape or are integers; AudioError if there are none, or one is NaN,
        infinite or far beyond full scale; PredictionError if the sample rate is not one of `whole_rate`.
    """

    values: Any  # as for `Model.predict`
    sample_rate: int  # in Hz
    covariates: Mapping[str, str] = field(default_factory=dict)
    name: str = "the array"  # in errors
    start_s: ClassVar[None] = None

    def __post_init__(self):
        object.__setattr__(self, "sample_rate", whole_rate(self.sample_rate))
        object.__setattr__(self, "values", mono(self.values))


@dataclass(frozen=True, eq=False)
class Encoded:
    """An audio file as bytes, or as a binary file object, which is read from its position to its end."""

    content: bytes | BinaryIO
    covariates: Mapping[str, str] = field(default_factory=dict)
    name: str = ""  # in errors; by default that of the file object, if it has one
    start_s: ClassVar[None] = None

    def __post_init__(self):
        name = self.name or getattr(self.content, "name", "")
        object.__setattr__(self, "name", name if name and isinstance(name, str) else "the file in memory")

    @contextmanager
    def as_file(self) -> Iterator[Path]:
        """Yield a temporary file with the same content.

        Raises: AudioError if the content cannot be read or copied; one in the `with` block is raised with `name`.
        """
        with ExitStack() as stack:
            try:
                copy = stack.enter_context(NamedTemporaryFile())
                copyfileobj(self.content if hasattr(self.content, "read") else BytesIO(self.content), copy)
                copy.flush()
            except (OSError, TypeError, ValueError) as error:
                needed = "an open binary file object is needed, as from open(path, 'rb'), and room for a copy"
                raise AudioError(f"{self.name} cannot be read ({one_line(error)}): {needed}") from None
            if not copy.tell():
                raise AudioError(f"{self.name} has no bytes to read: it is empty, or has been read to its end", "empty")
            try:
                yield Path(copy.name)
            except AudioError as error:
                raise AudioError(str(error).replace(copy.name, self.name), error.kind) from None


AnyRecording = Recording | Samples | Encoded


def recording_of(
    audio: Any, sample_rate: int | None = None, covariates: Mapping[str, str] | None = None
) -> AnyRecording:
    """The recording that `Model.predict` is given; errors as for `Samples`, PredictionError if it is not audio."""
    if isinstance(audio, str | os.PathLike):
        recording = Recording(Path(audio), covariates=covariates or {})
    elif isinstance(audio, bytes | bytearray | memoryview) or hasattr(audio, "read"):
        recording = Encoded(audio, covariates or {})
    elif isinstance(audio, list | tuple) and any(isinstance(one, str | os.PathLike) for one in audio):
        raise PredictionError("a list of paths is given: predict_many takes several recordings")
    elif not isinstance(audio, list | tuple) and not hasattr(audio, "__array__"):
        needed = "a path, the bytes of a file, a binary file object, an array or a tensor is needed"
        raise PredictionError(f"{one_line(repr(audio))} is not audio: {needed}")
    elif sample_rate is None:
        raise PredictionError("The sample rate of an array is needed, in Hz: for example sample_rate=16000")
    else:
        return Samples(audio, sample_rate, covariates or {})
    if sample_rate is not None:
        raise PredictionError(f"sample_rate is for arrays, and {recording.name} states its own: leave it out")
    return recording


def _nothing(message: str) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class RecordingSources:
    """The recordings that a command line names.

    Raises: CorpusError, PredictionError if a manifest cannot be read, or lacks a column that is needed.
    """

    names: Sequence[str]  # paths of files, folders and manifests; `-` for standard input
    covariates: GivenCovariates
    lines: Iterable[bytes]  # of standard input, each a path
    columns: Mapping[str, str] | None  # the names of manifests' columns, as in `read_manifest`

    def __post_init__(self):
        if self.columns and not any(name == STANDARD_INPUT or _is_manifest(name) for name in self.names):
            raise PredictionError(f"--columns names columns of a manifest, and {join(self.names, 'or')} is not one")
        for name in self.names:
            if name != STANDARD_INPUT:
                self._check(name)

    def count(self) -> int | None:
        """How many recordings there are; None if they come from standard input, which can be read only once."""
        return None if STANDARD_INPUT in self.names else sum(1 for _ in self.recordings())

    def recordings(self, report: Report = _nothing, note: Report = _nothing) -> Iterator[Recording]:
        """Find the recordings one by one, in the order of the names; files that begin with a dot are left out.

        Args: report: called for each folder, row of a manifest and line of standard input that cannot be used.
            note: called for each folder with files that are passed over, since their endings are not those of audio.
        Raises: PredictionError if standard input is not text.
        """
        for name in self.names:
            if name != STANDARD_INPUT:
                yield from self._recordings_of(name, report, note)
                continue
            for line in self.lines:
                if _BINARY.search(line):
                    raise PredictionError(
                        "Standard input is not a list of paths, one per line: save audio to a file, and name the file"
                    )
                if path := os.fsdecode(line.rstrip(b"\r\n")):
                    try:
                        self._check(path)
                    except ToolkitError as error:
                        report(str(error))
                    else:
                        yield from self._recordings_of(path, report, note)

    def _check(self, name: str) -> None:
        rows = read_rows(name, required=["path"], columns=self.columns) if _is_manifest(name) else ()
        known = dict.fromkeys(column for _, row in rows for column in row)
        for covariate, column in self.covariates.columns.items():
            option = f"--covariate {covariate}=@{column}"
            if not _is_manifest(name):
                raise PredictionError(f"{option} reads a column of a manifest, and {name} is not one")
            if column not in known:
                found = f"{name} has no column {column!r}; found {', '.join(known)}"
                raise PredictionError(f"{option}: {found}.{did_you_mean(column, known)}")

    def _recordings_of(self, name: str, report: Report, note: Report) -> Iterator[Recording]:
        given = self.covariates.values  # those of columns are in manifests
        if _is_manifest(name):
            yield from self._manifest(Path(name), report)
        elif os.path.isdir(name):
            found, others = False, Counter()
            for path in files_below(Path(name), report):
                if path.suffix.lower() in AUDIO_SUFFIXES:
                    found = True
                    yield Recording(path, covariates=given, below=str(path.relative_to(name)))
                else:
                    others[path.suffix.lower() or "no ending"] += 1
            if others:
                kinds = ", ".join(f"{suffix} ({count})" for suffix, count in others.most_common(5))
                note(f"{counted(others.total(), 'file')} in {name} passed over, not audio by name: {kinds}")
            if not found:
                report(f"{name} holds no audio file ({', '.join(sorted(AUDIO_SUFFIXES))})")
        else:
            yield Recording(Path(name), covariates=given, name=name)

    def _manifest(self, path: Path, report: Report) -> Iterator[Recording]:
        for line, row in read_rows(path, required=["path"], columns=self.columns):
            try:
                file, start_s, end_s = file_and_times(path, row)
            except CorpusError as error:
                report(f"{path}:{line}: {error}")
            else:
                yield Recording(file, start_s, end_s, self.covariates.values_for(row.get), where=f" ({path}:{line})")


def _is_manifest(name: str) -> bool:
    return Path(name).suffix.lower() in MANIFEST_SUFFIXES and not os.path.isdir(name)


def whole_rate(rate: Any) -> int:
    """A sample rate, checked: PredictionError if it is not a whole number from 1 to `HIGHEST`."""
    if isinstance(rate, bool) or not isinstance(rate, Real) or rate % 1 or not 1 <= rate <= HIGHEST:
        needed = f"a whole number of Hz up to {HIGHEST:,} is needed, for example 16000"
        raise PredictionError(f"sample_rate is {rate!r}; {needed}")
    return int(rate)


def mono(values: Any, *, chunk: bool = False) -> np.ndarray:
    """The mean of [samples] or [channels, samples] over channels: [samples], float32; errors as for `Samples`.

    A chunk of a stream may be empty, or have fewer samples than channels.
    """
    if hasattr(values, "detach"):  # a torch tensor, perhaps on a GPU
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values  # numpy has no bfloat16
    try:
        values = np.asarray(values)
    except ValueError as error:
        raise ShapeError(f"samples are [samples] or [channels, samples]: {one_line(error)}") from None
    shape = list(values.shape)
    if values.ndim not in (1, 2):
        raise ShapeError(f"samples are [samples] or [channels, samples], not {shape}")
    if not values.size:
        if chunk:
            return np.zeros(0, np.float32)
        raise AudioError(f"the array holds no samples: {shape}")
    if values.ndim == 2 and shape[0] > max(shape[1], MOST_CHANNELS if chunk else 0):
        raise ShapeError(f"samples are [channels, samples], and {shape} has more channels: transpose it")
    if not np.issubdtype(values.dtype, np.floating):
        raise ShapeError(f"samples are floating-point numbers with full scale at 1, not {values.dtype}: {DIVIDE}")
    with np.errstate(over="ignore"):  # values that become infinite are refused
        values = values.astype(np.float32)
    check_samples(values, "the array")
    return values.mean(axis=0) if values.ndim == 2 else values
