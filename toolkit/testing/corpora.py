"""The contract of corpora, property by property."""

import os
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from toolkit.corpus import Utterance
from toolkit.corpus.protocols import PROTOCOLS
from toolkit.errors import ToolkitError, counted
from toolkit.testing import Case, contract, plugin_class, require


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
    def attributes_are_as_declared(self) -> None:
        """Its attributes have the types that `toolkit.corpus.Corpus` states; `protocols` are names of protocols."""
        super().attributes_are_as_declared()
        protocols = self.build().protocols
        require({*protocols} <= {*PROTOCOLS}, f"protocols is {protocols!r}; known are {[*PROTOCOLS]}")

    @contract
    def read_lists_utterances(self) -> None:
        """`read` returns a list of Utterance, not empty."""
        utterances = self.read()
        require(isinstance(utterances, list), f"read returns {type(utterances).__name__}, not a list")
        require(utterances, f"read finds no utterances in {self.folder}")
        odd = [u for u in utterances if not isinstance(u, Utterance)]
        require(not odd, f"read returns {odd[:1]}, which is not a toolkit.corpus.Utterance")

    @contract
    def ids_are_unique(self) -> None:
        """No two utterances have the same id."""
        twice = [name for name, count in Counter(u.id for u in self.read()).items() if count > 1]
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
        with tempfile.TemporaryDirectory() as parent:
            folder, error = Path(parent) / "not-there", None
            try:
                found = f"returns {counted(len(list(corpus.read(folder))), 'utterance')}"
            except Exception as raised:
                error, found = raised, f"raises {raised!r}"
        require(isinstance(error, ToolkitError), f"read({folder}) {found}; it has to raise a ToolkitError")
        require("\n" not in str(error), f"the error has more than one line: {error}")
        require(folder.name in str(error), f"the error does not name the folder: {error}")

    @contract
    def import_is_light(self) -> None:
        """Importing the corpus's module does not import torch."""
        cls = plugin_class(self.make)
        if cls is None or cls.__module__ == "__main__":
            return
        probe = f"import sys, {cls.__module__}; sys.exit(3 if 'torch' in sys.modules else 0)"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([sys.executable, "-c", probe], env=environment, capture_output=True, check=False)
        require(done.returncode != 3, f"importing {cls.__module__} imports torch")
