"""What `toolkit experiment` and `toolkit status` do, and what they print: live in a terminal, as lines elsewhere."""

import os
import time
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path

import click
from rich.status import Status
from rich.text import Text

from toolkit.errors import ExperimentError, counted, printable
from toolkit.experiment.cells import CellProgress, Records, make_tasks, record_loss, run_task, seconds_left
from toolkit.experiment.engine import WorkerOptions
from toolkit.experiment.plan import PLAN, TRIALS, Cell, Plan, merged, read_plan, write_plan
from toolkit.files import locked
from toolkit.terminal import PlainConsole, clock, console_for_output, doing, say, table_of

STATES = ("done", "running", "interrupted", "failed", "waiting")


def run_experiment(plan: Plan, options: WorkerOptions, folder: Path) -> tuple[int, int]:
    """Run an experiment, and print how it went; a second process waits, and then runs what is missing.

    Cells of other commands in the folder are left as they are. Returns: the numbers of its failed and done cells.
    """
    folds = "; ".join(f"{', '.join(names)} of {protocol}" for protocol, names in plan.folds.items())
    chosen = f"folds {folds}; seeds {','.join(map(str, plan.seeds))}"
    say(f"{counted(len(plan.cells), 'cell')}: {', '.join(plan.systems)}; {chosen}")
    if os.path.isdir(folder / TRIALS):
        raise ExperimentError(f"{folder} holds a search of `toolkit tune`: choose another --output.")
    records = Records(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        if not stack.enter_context(locked(records.lock, wait=False)):
            say("Another process runs this experiment. This one waits, and then runs what is left.")
            stack.enter_context(locked(records.lock, wait=True))
        status = stack.enter_context(PlainConsole(stderr=True).status(""))
        whole = merged(read_plan(folder), plan) if (folder / PLAN).exists() else plan
        write_plan(folder, whole)
        for line in records.left_out(whole):
            say(line)
        missing = [c.cell for c in records.progress(plan, alive=False) if c.state != "done" or c.record.random]
        if tasks := make_tasks(folder, plan, missing, options.threads_each):
            with options.workers(len(tasks)) as workers:
                show_live(status, records.progress(plan, alive=True))
                for ended in workers.run(run_task, tasks):
                    for task, error in ended:
                        if error is not None:
                            record_loss(records, task, error)
                    finished = {cell for task, _ in ended for cell in task.cells}
                    show_live(status, records.progress(plan, alive=True), finished)
    cells = records.progress(plan, alive=False)
    print_cells(cells)
    if failed := sum(cell.state == "failed" for cell in cells):
        say(f"Failed: {failed}. Their output is in {records.folder}; the same command tries them again.")
    return failed, sum(cell.state == "done" for cell in cells)


def show_status(folder: Path, *, watch: bool) -> None:
    """Print the progress of an experiment; with `watch`, again and again while a process runs it."""
    records, plan = Records(folder), read_plan(folder)
    while True:
        alive = records.are_written()
        if watch:
            click.clear()
        print_cells(records.progress(plan, alive=alive))
        for line in records.left_out(plan):
            click.echo(line)
        click.echo("A process runs this experiment." if alive else "No process runs this experiment.")
        if not watch or not alive:
            return
        time.sleep(2.0)


def headline(cells: Sequence[CellProgress]) -> str:
    """One line: the number of cells in each state, and how long the rest may take."""
    counts = Counter(cell.state for cell in cells)
    parts = [f"{counts['done']} of {counted(len(cells), 'cell')} done"]
    parts += [f"{counts[state]} {state}" for state in STATES[1:] if counts[state]]
    if left := seconds_left(cells):
        parts.append(f"about {clock(left)} left")
    return ", ".join(parts)


def describe(cell: CellProgress) -> str:
    """One line about a cell."""
    name = "{}  {}  fold {}  seed {}".format(*cell.cell.key)
    if cell.state == "done":
        return f"{name}  done in {clock(cell.seconds)}  UA {100 * cell.ua:.1f} %"
    if cell.state == "failed":
        return f"{name}  failed: {cell.record.error}"
    if cell.state in ("running", "interrupted"):
        where = "preparing" if not cell.record.epochs else f"{cell.epoch} of {cell.record.epochs} epochs"
        return f"{name}  {cell.state}: {where}" + (f", {clock(cell.seconds)}" if cell.state == "running" else "")
    return f"{name}  waiting"


def show_live(status: Status, cells: Sequence[CellProgress], ended: Collection[Cell] = ()) -> None:
    """Print a line for each cell that has ended since the last call; a terminal also shows those that run."""
    finished = sum(cell.state in ("done", "failed") for cell in cells)
    for cell in (cell for cell in cells if cell.cell in ended):
        status.console.print(f"[{finished}/{len(cells)}] {describe(cell)}", soft_wrap=True)
    running = [f"  {printable(describe(cell))}" for cell in cells if cell.state == "running"]
    status.update(Text("\n".join([headline(cells), *running]), no_wrap=True))
    doing(headline(cells))


def print_cells(cells: Sequence[CellProgress]) -> None:
    """The table of `toolkit status`: cells by system and state, then a line for each cell that runs or failed."""
    console = console_for_output()
    systems = dict.fromkeys(cell.cell.system for cell in cells)
    counts = Counter((cell.cell.system, cell.state) for cell in cells)
    states = [state for state in STATES if state == "done" or any(counts[system, state] for system in systems)]
    table = table_of("system", *states, "mean UA % so far", title=headline(cells))
    for system in systems:
        found = [c.ua for c in cells if c.cell.system == system and c.ua is not None]
        mean = f"{100 * sum(found) / len(found):.1f}" if found else "-"
        table.add_row(system, *(str(counts[system, state]) for state in states), mean)
    console.print(table)
    for cell in cells:
        if cell.state in ("running", "interrupted", "failed"):
            console.print(describe(cell), soft_wrap=True)
    for stamp, count in Counter(stamp for cell in cells for stamp in cell.stamps).items():
        console.print(f"NOTE: {stamp} ({count} of {counted(len(cells), 'cell')})", style="yellow", soft_wrap=True)
