"""Running an experiment: what is missing is submitted to an executor, and watched until all is done."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from toolkit.errors import ExperimentError
from toolkit.experiment.cells import Record, Records
from toolkit.experiment.plan import Plan, merged, read_plan, write_plan
from toolkit.experiment.progress import CellProgress, Progress, held
from toolkit.experiment.tasks import Task, make_tasks, run_task

WATCH_S = 1.0  # between two looks at the folder

Show = Callable[[Sequence[CellProgress]], None]


def run_experiment(
    folder: Path,
    plan: Plan,
    make_executor: Callable[[], AbstractContextManager[Executor]],
    *,
    threads: int,
    say: Callable[[str], None],
    show: Show,
) -> list[CellProgress]:
    """Run the cells of a plan that are not finished.

    One process at a time runs the experiment of a folder. Another one that is started meanwhile shows how far it is,
    and does what is missing in the end.

    Args:
        folder: the experiment's.
        plan: of this command; cells of earlier commands in the folder are left as they are.
        make_executor: makes what the tasks are submitted to; its `stop` ends what is running, where it has one.
        threads: that torch computes with in each task.
        say: prints a line for the reader.
        show: draws how far the cells of this plan are.

    Returns:
        How each cell of this plan ended.
    """
    folder = Path(folder).absolute()
    progress = Progress(folder, plan)
    with ExitStack() as stack:
        _wait_for_turn(folder, stack, say, lambda: show(progress.cells(alive=True)))
        whole, left_out = merged(read_plan(folder), plan)
        for line in left_out:
            say(line)
        write_plan(folder, whole)
        missing = [c.cell for c in progress.cells(alive=False) if c.state != "done" or c.record.random]
        tasks = make_tasks(folder, plan, missing, threads=threads)
        if tasks:
            _run(tasks, make_executor, Records(folder), lambda: show(progress.cells(alive=True)))
    return progress.cells(alive=False)


def _wait_for_turn(folder: Path, stack: ExitStack, say: Callable[[str], None], show: Callable[[], None]) -> None:
    waiting = False
    while True:
        attempt = ExitStack()
        if attempt.enter_context(held(folder)):
            stack.enter_context(attempt)
            return
        attempt.close()
        if not waiting:
            waiting = True
            say("Another process runs this experiment. Waiting for it; what it leaves undone is done here.")
        show()
        time.sleep(WATCH_S)


def _run(
    tasks: Sequence[Task],
    make_executor: Callable[[], AbstractContextManager[Executor]],
    records: Records,
    show: Callable[[], None],
) -> None:
    with make_executor() as executor:
        try:
            futures = {executor.submit(run_task, task): task for task in tasks}
            pending = set(futures)
            while pending:
                show()
                done, pending = wait(pending, timeout=WATCH_S, return_when=FIRST_COMPLETED)
                for future in done:
                    _record_loss(future, futures[future], records)
            show()
        except BaseException:
            getattr(executor, "stop", lambda: None)()
            raise


def _record_loss(future: Future, task: Task, records: Records) -> None:
    """Record cells whose worker came to grief; what a cell itself ran into is recorded by the worker."""
    error = future.exception()
    if error is None:
        return
    text = str(error) if isinstance(error, ExperimentError) else f"{type(error).__name__}: {error}".partition("\n")[0]
    now = time.time()
    for cell in task.cells:
        record = records.read(cell) or Record(cell.name, "running", now)
        if record.state == "running":
            records.write(record.but(state="failed", ended=now, error=text))
