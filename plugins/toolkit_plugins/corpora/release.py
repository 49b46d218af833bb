"""The base of corpora that are read from their release's folder."""

import os
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from toolkit.corpus import Corpus
from toolkit.errors import CorpusError, listed


class Release(Corpus):
    """A corpus in the folder that its publishers release, described by its file names or by a table."""

    title: str
    holds: str  # what the folder holds, in words
    source: str  # where to get it, in words

    def find(self, folder: Path | None, pattern: str) -> list[Path]:
        """The files that match a glob pattern in the folder or one level below, by name, without hidden files.

        Raises: CorpusError if there is none; it says what was found, what is expected and where to get it.
        """
        if folder is None:
            raise CorpusError(f"{self.title} needs --data_folder or {self.environment}: {self._expected}")
        folder = Path(os.path.expanduser(folder)).absolute()
        if not os.path.isdir(folder):
            raise CorpusError(f"No folder {folder}; {self.title} is {self._expected}")
        found = [*folder.glob(pattern), *folder.glob(f"*/{pattern}")]
        files = sorted((file for file in found if not file.name.startswith(".")), key=lambda file: (file.name, file))
        if not files:
            raise self.unlike(folder)
        return files

    def unlike(self, folder: Path) -> CorpusError:
        """The error for a folder that holds something else."""
        there = listed(sorted(file.name for file in Path(os.path.expanduser(folder)).iterdir()), 6) or "nothing"
        return CorpusError(f"{folder} is not {self.title}: it holds {there}; expected {self._expected}")

    def find_one(self, folder: Path | None, pattern: str) -> Path:
        """The one file that matches; errors as in `find`, and if there are several."""
        first, *others = self.find(folder, pattern)
        if others:
            raise self._twice(first, others[0])
        return first

    def once(self, files: list[Path]) -> list[Path]:
        """The files, which are sorted by name; CorpusError if two have the same name, as in copies of a release."""
        for file, following in pairwise(files):
            if file.stem == following.stem:
                raise self._twice(file, following)
        return files

    def named(self, files: list[Path], pattern: re.Pattern) -> Iterator[tuple[Path, re.Match]]:
        """Each file with the pattern's match of its name without the suffix; CorpusError if the name does not match."""
        for file in files:
            if not (match := pattern.fullmatch(file.stem)):
                raise CorpusError(f"{file} is not named as {self.title} names its files; expected {self._expected}")
            yield file, match

    def _twice(self, first: Path, second: Path) -> CorpusError:
        found = f"{self.title} was found twice, {first} and {second}"
        return CorpusError(f"{found}: name one of the folders, or keep only one")

    @property
    def _expected(self) -> str:
        return f"the folder with {self.holds}; get it from {self.source}"
