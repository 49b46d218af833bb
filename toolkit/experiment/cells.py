"""A cell of an experiment, one system on one fold under one protocol with one seed, and the record of how it went."""

import json
import os
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from toolkit.errors import ExperimentError

State = Literal["running", "done", "failed"]


@dataclass(frozen=True)
class Cell:
    """What one run is made for.

    Args:
        system: the recipe's name.
        protocol: as in `toolkit.corpus.protocols.PROTOCOLS`.
        fold: its name.
        seed: of the run.
        fingerprint: eight hexadecimal digits of all else that can change the result: settings, data, code.

    >>> Cell("ser", "loso", "1M", 1, "1a2b3c4d").name
    'ser-loso-1M-seed1-1a2b3c4d'
    """

    system: str
    protocol: str
    fold: str
    seed: int
    fingerprint: str

    @property
    def name(self) -> str:
        """What its record is called."""
        fold = re.sub(r"[^\w.+-]", "_", self.fold).lstrip(".")  # a speaker may be called anything
        return f"{self.system}-{self.protocol}-{fold}-seed{self.seed}-{self.fingerprint}"

    @property
    def place(self) -> tuple[str, str, str, int]:
        """Where it stands in the experiment, whatever its settings."""
        return self.system, self.protocol, self.fold, self.seed


@dataclass(frozen=True)
class Record:
    """How a cell went, or goes.

    Args:
        cell: the cell's name.
        state: running (or interrupted, where nobody runs it any more), done or failed.
        started: when it was begun last, in seconds since 1970.
        ended: when it was done or failed.
        epochs: how many the training may last.
        run: the name of the run's folder, once it is known.
        random: whether a backbone that should be pre-trained has random weights; such a cell is looked at again, since
            the weights may be there next time.
        error: one line, of a failed cell.
        traceback: of a failed cell whose error is neither the user's mistake nor a plugin's.
        host: name of the machine.
        pid: of the process.
    """

    cell: str
    state: State
    started: float
    ended: float | None = None
    epochs: int | None = None
    run: str | None = None
    random: bool = False
    error: str | None = None
    traceback: str | None = None
    host: str = ""
    pid: int = 0

    def but(self, **changes: Any) -> "Record":
        """The same with some values changed."""
        return replace(self, **changes)


class Records:
    """The records of an experiment, one small file each, replaced whole.

    Args:
        folder: the experiment's.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder) / "cells"

    def write(self, record: Record) -> None:
        """Replace a cell's record.

        Raises:
            ExperimentError: if the disk is full or cannot be written.
        """
        path = self.folder / f"{record.cell}.json"
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")
            partial.replace(path)
        except OSError as error:
            raise ExperimentError(
                f"{path} could not be written ({error.strerror}): make room and give the same command again."
            ) from error

    def read(self, cell: Cell) -> Record | None:
        """A cell's record; None where there is none or it is damaged (the cell is then run again)."""
        try:
            return Record(**json.loads((self.folder / f"{cell.name}.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def log(self, cell: Cell) -> Path:
        """The file that what a cell's run says goes to."""
        return self.folder / f"{cell.name}.log"
