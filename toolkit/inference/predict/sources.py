"""What the words of a command line mean: files, folders, manifests, standard input. Imports no torch."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolkit.corpus import file_and_times, read_rows
from toolkit.errors import CorpusError, PredictionError, ToolkitError, did_you_mean
from toolkit.inference.predict.covariate_values import GivenCovariates
from toolkit.inference.predict.recordings import Recording

AUDIO_SUFFIXES = frozenset(
    {".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".rf64", ".w64", ".wav"}
)
MANIFEST_SUFFIXES = frozenset({".csv", ".json"})
STANDARD_INPUT = "-"


@dataclass(frozen=True)
class Sources:
    """Where recordings come from.

    Args:
        words: paths of audio files, of folders, of manifests; `-` for standard input, which holds such a path a line.
        covariates: what is given of all recordings, or by a column of manifests.
        lines: the lines of standard input, read one by one.

    Raises:
        CorpusError: if a manifest cannot be read or has no column path.
        PredictionError: if a covariate is to be read from a column, and one of the words is no manifest or its manifest
            has no such column.
    """

    words: Sequence[str]
    covariates: GivenCovariates
    lines: Iterable[bytes] = ()

    def __post_init__(self):
        for word in self.words:
            if word != STANDARD_INPUT:
                self._check(word)

    @property
    def countable(self) -> bool:
        """Whether all recordings can be found without using them up."""
        return STANDARD_INPUT not in self.words

    def recordings(self, report: Callable[[str], None]) -> Iterator[Recording]:
        """Find the recordings, in the order of the words; each when it is asked for.

        Folders are walked in the order of names. Files whose names have no ending of an audio file, or begin with a
        dot, are passed over there.

        Args:
            report: told of each folder that cannot be listed or holds no audio, and of each line of standard input that
                is refused.
        """
        for word in self.words:
            if word != STANDARD_INPUT:
                yield from self._of(word, report)
                continue
            for line in self.lines:
                if name := os.fsdecode(line.rstrip(b"\r\n")):
                    yield from self._of_line(name, report)

    def _check(self, word: str) -> None:
        columns = self.covariates.columns
        if not _is_manifest(word):
            for name, column in columns.items():
                raise PredictionError(
                    f"--covariate {name}=@{column} reads a column of a manifest, and {word} is none (.csv or .json)"
                )
            return
        known: dict[str, None] = {}
        for line, row in read_rows(word, required=["path"]):
            _recording(Path(word), line, row, self.covariates)
            known |= dict.fromkeys(row)
        for name, column in columns.items():
            if column not in known:
                raise PredictionError(
                    f"--covariate {name}=@{column}: {word} has no column {column!r}; found {', '.join(known)}."
                    f"{did_you_mean(column, known)}"
                )

    def _of_line(self, name: str, report: Callable[[str], None]) -> Iterator[Recording]:
        try:
            self._check(name)
        except ToolkitError as error:
            report(str(error))
            return
        yield from self._of(name, report)

    def _of(self, word: str, report: Callable[[str], None]) -> Iterator[Recording]:
        given = self.covariates
        if _is_manifest(word):
            for line, row in read_rows(word, required=["path"]):
                yield _recording(Path(word), line, row, given)
        elif Path(word).is_dir():
            found = False
            for path in _walk(Path(word), report):
                found = True
                yield Recording(path, covariates=given.of({}))
            if not found:
                report(f"{word} holds no audio file ({', '.join(sorted(AUDIO_SUFFIXES))})")
        else:
            yield Recording(Path(word), covariates=given.of({}), name=word)


def _is_manifest(word: str) -> bool:
    return Path(word).suffix.lower() in MANIFEST_SUFFIXES and not Path(word).is_dir()


def _recording(manifest: Path, line: int, row: dict[str, str], given: GivenCovariates) -> Recording:
    try:
        path, start_s, end_s = file_and_times(manifest, row)
    except CorpusError as error:
        raise CorpusError(f"{manifest}:{line}: {error}") from None
    return Recording(path, start_s, end_s, given.of(row))


def _walk(folder: Path, report: Callable[[str], None]) -> Iterator[Path]:
    """Audio files below a folder; folders that are links are not followed, as they may lead back."""
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
