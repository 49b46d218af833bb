"""A cell of an experiment, one system on one fold under one protocol with one seed, and the record of its run."""

import hashlib
import json
import re
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Literal

from toolkit.errors import ExperimentError, RecipeError, one_line
from toolkit.files import parse_json, write_whole
from toolkit.recipe.reading import read_plain
from toolkit.terminal import say

RUNS = "runs"


@dataclass(frozen=True)
class Cell:
    """What one run is made for.

    >>> Cell("ser", "loso", "a/b", 1, "1a2b3c4d").name
    'ser-loso-a_b-seed1-fa4820ac'
    """

    system: str  # the recipe's name
    protocol: str  # a name in `toolkit.corpus.protocols.PROTOCOLS`
    fold: str
    seed: int
    fingerprint: str  # eight hexadecimal digits of all else that can change the result: settings, data, code

    @property
    def name(self) -> str:
        """The name of its files: readable, and unique by a hash of all values."""
        readable = re.sub(r"[^\w.+-]", "_", "-".join(map(str, self.key[:3])), flags=re.ASCII)
        digest = hashlib.sha256(json.dumps(astuple(self)).encode()).hexdigest()
        return f"{readable[:150]}-seed{self.seed}-{digest[:8]}"

    @property
    def key(self) -> tuple[str, str, str, int]:
        """System, protocol, fold and seed: one cell of a plan, whatever its settings."""
        return self.system, self.protocol, self.fold, self.seed


@dataclass(frozen=True)
class Record:
    """The state of a cell's run."""

    cell: Cell
    state: Literal["running", "done", "failed"]  # running: or interrupted, if no process runs the experiment
    started: float  # when the cell was last started, in seconds since 1970
    ended: float | None = None  # when it was done or failed
    epochs: int | None = None  # the most that the training may take
    run: str | None = None  # the name of the run's folder, once it is known
    random: bool = False  # a pre-trained backbone has random weights: the next command runs the cell again
    error: str | None = None  # one line, of a failed cell; its traceback is in the log
    host: str = ""
    pid: int = 0


class Records:
    """The records in an experiment's folder, one small file for each cell."""

    def __init__(self, folder: Path):
        self.experiment, self.folder = Path(folder), Path(folder) / "cells"
        self.damaged: set[Path] = set()

    def write(self, record: Record) -> None:
        """Write or replace a cell's record; ExperimentError if the disk is full or cannot be written."""
        text = json.dumps(asdict(record), indent=1) + "\n"
        write_whole(self.path(record.cell), text, ExperimentError, "make room and give the same command again")

    def read(self, cell: Cell) -> Record | None:
        """A cell's record; None if there is none or it is damaged, which is said once: the cell is then run again."""
        path = self.path(cell)
        try:
            record = read_plain(Record, parse_json(path.read_bytes(), strict=True))
            if record.cell == cell:
                return record
            raise ValueError("it is of another cell")
        except (OSError, ValueError, RecipeError) as error:
            if path not in self.damaged and not isinstance(error, FileNotFoundError):
                say(f"{path} is damaged ({one_line(str(error))}): the same experiment command runs its cell again.")
                self.damaged.add(path)
            return None

    def path(self, cell: Cell) -> Path:
        """The file of a cell's record."""
        return self.folder / f"{cell.name}.json"

    def log(self, cell: Cell) -> Path:
        """The file with everything that a cell's run prints."""
        return self.folder / f"{cell.name}.log"

    def run_folder(self, record: Record) -> Path | None:
        """The folder of a cell's run, once it is known."""
        return self.experiment / RUNS / record.run if record.run else None
