"""The contract of corpora, property by property."""

import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from toolkit.corpus import Utterance
from toolkit.errors import ToolkitError, one_line
from toolkit.testing import Case, contract, require, unwrapped


@dataclass(frozen=True)
class CorpusCase(Case):
    """A corpus to examine, with a data folder that it can read, or None; it is read a few times."""

    folder: Path | str | None = None
    kind: ClassVar[str] = "corpus"
    basic = ("read_lists_utterances",)

    def read(self) -> list[Utterance]:
        """The utterances that a new corpus reads."""
        return self.build().read(None if self.folder is None else Path(self.folder))

    @contract
    def read_lists_utterances(self) -> None:
        """`read` returns a list of Utterance, not empty, no two with the same id."""
        utterances = self.read()
        require(isinstance(utterances, list), f"read returns {type(utterances).__name__}, not a list")
        require(utterances, f"read finds no utterances in {self.folder}")
        for u in utterances:
            require(isinstance(u, Utterance), f"read returns {u!r}, which is not a toolkit.corpus.Utterance")
        twice = [name for name, count in Counter(u.id for u in utterances).items() if count > 1]
        require(not twice, f"ids that occur more than once: {', '.join(twice[:5])}")

    @contract
    def reads_are_equal(self) -> None:
        """Two reads give the same utterances in the same order."""
        for index, (one, other) in enumerate(zip(self.read(), self.read(), strict=True)):
            require(one == other, f"utterance {index} is {one.id!r}, then {other.id!r}, or differs in a field")

    @contract
    def missing_folder_is_one_line(self) -> None:
        """A missing data folder raises a ToolkitError of one line that names it (synthetic corpora are exempt)."""
        corpus = self.build()
        if self.folder is None or corpus.synthetic:
            return
        folder = Path(self.folder) / "not-there"
        try:
            found = corpus.read(folder)
        except Exception as error:
            found = error
        named = isinstance(found, ToolkitError) and "\n" not in str(found) and folder.name in str(found)
        need = "a ToolkitError is needed that names it in one line"
        require(named, f"read({folder}) gives {one_line(found)}; {need}")

    @contract
    def import_is_light(self) -> None:
        """Importing the corpus's module does not import torch."""
        module = unwrapped(self.make).__module__
        if not isinstance(unwrapped(self.make), type) or module == "__main__":
            return
        probe = f"import sys, {module}; sys.exit(3 if 'torch' in sys.modules else 0)"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        code = subprocess.call([sys.executable, "-c", probe], env=environment, stderr=subprocess.DEVNULL)
        require(code != 3, f"importing {module} imports torch")
