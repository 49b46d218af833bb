"""The progress of an experiment, read from its folder: by the process that runs it and by any other."""

import csv
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

from toolkit.errors import ToolkitError
from toolkit.experiment.cells import Cell, Record, Records
from toolkit.experiment.plan import Plan
from toolkit.files import locked
from toolkit.terminal import say
from toolkit.training.run_folder import EPOCHS, RESULTS, read_results

LOCK = "lock"


@dataclass(frozen=True)
class CellProgress:
    """The progress of a cell."""

    cell: Cell
    state: Literal["waiting", "running", "interrupted", "done", "failed"]
    record: Record | None = None  # None while it waits
    epoch: int = 0  # epochs that are done
    seconds: float = 0.0  # since it was started, or until it ended
    ua: float | None = None  # of its test, if it is done
    stamps: tuple[str, ...] = ()  # notes that belong to its result


class Progress:
    """Reads the progress of a plan's cells from the experiment's folder; what is done is read once."""

    def __init__(self, folder: Path, plan: Plan):
        self.plan, self.records = plan, Records(folder)
        self._done: dict[Cell, CellProgress] = {}

    def cells(self, *, alive: bool) -> list[CellProgress]:
        """The plan's cells in order; unless a process runs them (`alive`), those that were started are interrupted."""
        return [self._done.get(cell) or self._cell(cell, alive) for cell in self.plan.cells]

    def _cell(self, cell: Cell, alive: bool) -> CellProgress:
        if (record := self.records.read(cell)) is None:
            return CellProgress(cell, "waiting")
        run = self.records.run_folder(record)
        if record.state == "running":
            state, epoch = "running" if alive else "interrupted", 0
            if run is not None:
                with suppress(OSError, ValueError, csv.Error), (run / EPOCHS).open(newline="") as file:
                    epoch = sum(1 for _ in csv.DictReader(file))
            return CellProgress(cell, state, record, epoch, time.time() - record.started)
        seconds = (record.ended or record.started) - record.started
        if record.state == "failed":
            return CellProgress(cell, "failed", record, seconds=seconds)
        if run is None or not os.path.isfile(run / RESULTS):
            return CellProgress(cell, "waiting")  # its run was deleted
        ua, stamps = None, ()
        try:
            results = read_results(run / RESULTS)
            ua, stamps = results["ua"], tuple(results["stamps"])
        except ToolkitError as error:
            say(str(error))
        self._done[cell] = CellProgress(cell, "done", record, record.epochs or 0, seconds, ua, stamps)
        return self._done[cell]


def seconds_left(cells: Sequence[CellProgress], *, jobs: int) -> float | None:
    """How long the rest may take, judged by finished cells of the same system; None if none is finished."""
    took: dict[str, list[float]] = {}
    for cell in cells:
        if cell.state == "done" and cell.seconds > 0:
            took.setdefault(cell.cell.system, []).append(cell.seconds)
    if not took:
        return None
    means = {system: fmean(seconds) for system, seconds in took.items()}
    left = 0.0
    for cell in cells:
        if cell.state not in ("done", "failed"):
            spent = cell.seconds if cell.state == "running" else 0.0
            left += max(0.0, means.get(cell.cell.system, fmean(means.values())) - spent)
    return left / jobs


def is_alive(folder: Path) -> bool:
    """Whether a process runs the experiment of a folder."""
    try:
        with locked(Path(folder) / LOCK, wait=False, shared=True) as free:
            return not free
    except OSError:
        return False
