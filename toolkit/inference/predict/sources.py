"""The recordings that a command line names: files, folders, manifests, standard input. Imports no torch."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolkit.corpus import file_and_times, read_rows
from toolkit.errors import CorpusError, PredictionError, ToolkitError, did_you_mean
from toolkit.inference.predict.covariates import GivenCovariates
from toolkit.inference.predict.recordings import Recording

AUDIO_SUFFIXES = frozenset(
    {".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".rf64", ".w64", ".wav"}
)
MANIFEST_SUFFIXES = frozenset({".csv", ".json"})
STANDARD_INPUT = "-"


@dataclass(frozen=True)
class RecordingSources:
    """Where recordings come from.

    Args:
        names: paths of audio files, of folders, of manifests; `-` for standard input, which holds one such path a line.
        covariates: those of all recordings, or of a column of manifests.
        lines: the lines of standard input, read one by one.

    Raises:
        CorpusError: if a manifest cannot be read or has no column path.
        PredictionError: if a covariate is read from a column, and a source is not a manifest or its manifest has no
            such column.
    """

    names: Sequence[str]
    covariates: GivenCovariates
    lines: Iterable[bytes] = ()

    def __post_init__(self):
        for name in self.names:
            if name != STANDARD_INPUT:
                self._check(name)

    def count(self) -> int | None:
        """How many recordings there are; None if they come from standard input, which can be read only once."""
        if STANDARD_INPUT in self.names:
            return None
        return sum(1 for _ in self.recordings(lambda message: None))

    def recordings(self, report: Callable[[str], None]) -> Iterator[Recording]:
        """Find the recordings, in the order of the names; each when it is asked for.

        Folders are searched in the order of names, without files that lack an audio file's suffix and names that begin
        with a dot.

        Args:
            report: called for each folder that cannot be listed or holds no audio, and for each line of standard input
                that is refused.
        """
        for name in self.names:
            if name != STANDARD_INPUT:
                yield from self._of(name, report)
                continue
            for line in self.lines:
                if path := os.fsdecode(line.rstrip(b"\r\n")):
                    try:
                        self._check(path)
                    except ToolkitError as error:
                        report(str(error))
                    else:
                        yield from self._of(path, report)

    def _check(self, name: str) -> None:
        columns = self.covariates.columns
        known: dict[str, None] = {}
        if _is_manifest(name):
            for line, row in read_rows(name, required=["path"]):
                _recording(Path(name), line, row, self.covariates)
                known |= dict.fromkeys(row)
        for covariate, column in columns.items():
            if not _is_manifest(name):
                raise PredictionError(
                    f"--covariate {covariate}=@{column} reads a column of a manifest (.csv or .json); {name} is not one"
                )
            if column not in known:
                raise PredictionError(
                    f"--covariate {covariate}=@{column}: {name} has no column {column!r}; found {', '.join(known)}."
                    f"{did_you_mean(column, known)}"
                )

    def _of(self, name: str, report: Callable[[str], None]) -> Iterator[Recording]:
        given = self.covariates
        if _is_manifest(name):
            for line, row in read_rows(name, required=["path"]):
                yield _recording(Path(name), line, row, given)
        elif Path(name).is_dir():
            found = False
            for path in _walk(Path(name), report):
                found = True
                yield Recording(path, covariates=given.of({}))
            if not found:
                report(f"{name} holds no audio file ({', '.join(sorted(AUDIO_SUFFIXES))})")
        else:
            yield Recording(Path(name), covariates=given.of({}), name=name)


def _is_manifest(name: str) -> bool:
    return Path(name).suffix.lower() in MANIFEST_SUFFIXES and not Path(name).is_dir()


def _recording(manifest: Path, line: int, row: dict[str, str], given: GivenCovariates) -> Recording:
    try:
        path, start_s, end_s = file_and_times(manifest, row)
    except CorpusError as error:
        raise CorpusError(f"{manifest}:{line}: {error}") from None
    return Recording(path, start_s, end_s, given.of(row))


def _walk(folder: Path, report: Callable[[str], None]) -> Iterator[Path]:
    """Audio files below a folder; linked folders are not followed, since they may lead back."""
    try:
        with os.scandir(folder) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
    except OSError as error:
        report(f"{folder} cannot be listed: {error.strerror}")
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(folder / entry.name, report)
        elif Path(entry.name).suffix.lower() in AUDIO_SUFFIXES and not entry.is_dir():
            yield folder / entry.name
