"""Shows the progress of an experiment: live in a terminal, as lines elsewhere, as the table of `toolkit status`."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from toolkit.errors import counted, printable
from toolkit.experiment.plan import Cell
from toolkit.experiment.progress import CellProgress, seconds_left
from toolkit.terminal import PlainConsole, clock, console_for_output, doing, table_of

STATES = ("done", "running", "interrupted", "failed", "waiting")


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
        ua = "" if cell.ua is None else f"  UA {100 * cell.ua:.1f} %"
        return f"{name}  done in {clock(cell.seconds)}{ua}"
    if cell.state == "failed":
        return f"{name}  failed: {cell.record.error}"
    if cell.state in ("running", "interrupted"):
        where = "preparing" if not cell.record.epochs else f"{cell.epoch} of {cell.record.epochs} epochs"
        return f"{name}  {cell.state}: {where}" + (f", {clock(cell.seconds)}" if cell.state == "running" else "")
    return f"{name}  waiting"


@contextmanager
def live_display() -> Iterator[Callable[[Sequence[CellProgress]], None]]:
    """Yield a function that shows the progress of cells; call it again whenever it may have changed.

    A terminal shows a list that is updated; elsewhere a line is printed for each cell that ends.
    """
    console = PlainConsole(stderr=True)
    seen: set[Cell] | None = None
    with Live(console=console, transient=True, auto_refresh=False) if console.is_terminal else nullcontext() as live:

        def show(cells: Sequence[CellProgress]) -> None:
            nonlocal seen
            ended = {cell.cell: cell for cell in cells if cell.state in ("done", "failed")}
            seen = set(ended) if seen is None else seen & ended.keys()  # without those that run again
            for cell in [cell for cell in ended if cell not in seen]:
                seen.add(cell)
                console.print(f"[{len(seen)}/{len(cells)}] {describe(ended[cell])}", soft_wrap=True)
            if live is None:
                doing(headline(cells))
            else:
                live.update(_live_list(cells), refresh=True)

        yield show


def _live_list(cells: Sequence[CellProgress]) -> Group:
    done = sum(cell.state == "done" for cell in cells)
    running = [f"  {printable(describe(cell))}" for cell in cells if cell.state == "running"]
    lines = [Text(line, style="dim", no_wrap=True) for line in running]  # those that fit on the screen are shown
    return Group(ProgressBar(total=len(cells), completed=done), Text(headline(cells)), *lines)


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
