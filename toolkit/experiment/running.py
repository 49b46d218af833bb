"""Running an experiment: the engine gets what is missing, and the folder is watched until all cells have ended."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from toolkit.errors import ExperimentError
from toolkit.experiment.cells import Record, Records
from toolkit.experiment.engine import Workers
from toolkit.experiment.plan import Plan, merged, read_plan, write_plan
from toolkit.experiment.progress import LOCK, CellProgress, Progress
from toolkit.experiment.tasks import Task, error_text, make_tasks, run_task
from toolkit.files import locked

LOOK_AGAIN_S = 1.0


def run_experiment(
    folder: Path,
    plan: Plan,
    start_workers: Callable[[int], AbstractContextManager[Workers]],
    *,
    threads: int,
    say: Callable[[str], None],
    show: Callable[[Sequence[CellProgress]], None],
) -> list[CellProgress]:
    """Run the cells of a plan that are not finished.

    One process at a time runs the experiment of a folder. A second one waits for it, shows its progress, and then runs
    what is missing.

    Args:
        folder: the experiment's.
        plan: of this command; other cells in the folder are left as they are.
        start_workers: gets the number of tasks and gives the workers that run them.
        threads: that torch computes with in each task.
        say: prints a line for the reader.
        show: shows the progress of this plan's cells.

    Returns:
        How each cell of this plan ended.

    Raises:
        ExperimentError: if the folder cannot be written, holds an experiment on other data, or a damaged one.
    """
    folder = Path(folder).absolute()
    progress = Progress(folder, plan)
    with _turn(folder, say, lambda: show(progress.cells(alive=True))):
        whole, left_out = merged(read_plan(folder), plan)
        for line in left_out:
            say(line)
        write_plan(folder, whole)
        missing = [c.cell for c in progress.cells(alive=False) if c.state != "done" or c.record.random]
        tasks = make_tasks(folder, plan, missing, threads=threads)
        if tasks:
            with start_workers(len(tasks)) as workers:
                show(progress.cells(alive=True))
                for ended in workers.run(run_task, tasks):
                    for task, error in ended:
                        _record_loss(progress.records, task, error)
                    show(progress.cells(alive=True))
    return progress.cells(alive=False)


@contextmanager
def _turn(folder: Path, say: Callable[[str], None], show: Callable[[], None]) -> Iterator[None]:
    """Wait until no other process runs the experiment of a folder, and keep others waiting meanwhile."""
    waiting = False
    while True:
        with ExitStack() as stack:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                ours = stack.enter_context(locked(folder / LOCK, wait=False))
            except OSError as error:
                reason = f"{folder} cannot be written ({error.strerror})"
                raise ExperimentError(f"{reason}: choose another --output.") from error
            if ours:
                yield
                return
        if not waiting:
            waiting = True
            say("Another process runs this experiment. This one waits, and then runs what is left.")
        show()
        time.sleep(LOOK_AGAIN_S)


def _record_loss(records: Records, task: Task, error: Exception | None) -> None:
    """Record the cells of a task that raised: a worker records the errors of its cells, but not its own death."""
    if error is None:
        return
    now = time.time()
    for cell in task.cells:
        record = records.read(cell) or Record(cell, "running", now)
        if record.state == "running":
            records.write(replace(record, state="failed", ended=now, error=error_text(error)))
