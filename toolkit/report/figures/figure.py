"""A figure, its look, and its PNG, SVG and PDF: always the same bytes."""

import io
import textwrap
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.report.evidence import SystemRuns, incomplete_note, stamps_of

STYLE_SHEET = Path(__file__).with_name("report.mplstyle")  # it has the same greys
INK = "#1b1b1d"
MUTED = "#5b5b5f"
RULE = "#d3d3d7"
HEAT = "#0a5394"
# Okabe and Ito, "Color universal design", 2008: they differ in grey too; a dash or marker also tells series apart
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK)
YELLOW = "#F0E442"  # for points only, which have an edge: a yellow line is hardly visible on white
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">", "h", "*")
DASHES = ("-", (0, (5, 2)), (0, (1.2, 1.2)), (0, (6, 2, 1.2, 2)), (0, (3, 1.5)))
WIDTH, NARROW = 9.6, 5.6  # inches: several panels, one panel
_METADATA = {  # without what would differ each time
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


class Figure:
    """A figure that can be drawn."""

    def __init__(
        self,
        name: str,  # of its files, without ending
        title: str,  # what it shows, in one line
        reading: str,  # how to read it
        draw: Callable[[], Any],  # makes the matplotlib figure, without its stamps
        tested: Sequence[SystemRuns],  # what it is made from: their stamps are drawn into the image
    ):
        self.name, self.title, self.draw = name, title, draw
        self.caption, self.stamps = " ".join([reading, *incomplete_note(tested)]), stamps_of(tested)

    def files(self) -> dict[str, bytes]:
        """Its files by ending."""
        with styled():
            drawn = self.draw()
            stamp(drawn, self.stamps)
            drawn.get_layout_engine().execute(drawn)
            drawn.set_layout_engine("none")  # each file would take as long again to place its panels
            return {ending: image_bytes(drawn, ending) for ending in _METADATA}


def styled() -> AbstractContextManager:
    """A context in which new figures look alike, whatever the user's own matplotlib settings are."""
    import matplotlib.style

    return matplotlib.style.context(STYLE_SHEET, after_reset=True)


def new_figure(*, height: float, columns: int, rows: int = 1, **options: Any) -> tuple[Any, np.ndarray]:
    """A figure that belongs to no window, `height` in inches, and its empty panels [rows, columns]."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH if columns > 1 else NARROW, height))
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def line_style(index: int) -> dict[str, Any]:
    """The colour, dash and marker of a line."""
    colour, dash, marker = (looks[index % len(looks)] for looks in (COLOURS, DASHES, MARKERS))
    return {"color": colour, "linestyle": dash, "marker": marker}


def point_style(index: int) -> dict[str, Any]:
    """The colour and marker of a class's points, which have an edge."""
    colours = (*COLOURS, YELLOW)
    return {"color": colours[index % len(colours)], "marker": MARKERS[index % len(MARKERS)]}


def stamp(figure: Any, stamps: Sequence[str]) -> None:
    """Write stamps below a figure's panels, into the image itself."""
    if stamps:
        wide = round(15 * figure.get_figwidth())  # characters
        lines = [line for note in stamps for line in textwrap.wrap(f"NOTE: {note}", wide, subsequent_indent="  ")]
        figure.supxlabel("\n".join(lines), x=0.008, ha="left", fontsize=7.5, fontweight="bold", color=INK)


def image_bytes(drawn: Any, kind: str) -> bytes:
    """The figure as a "png", "svg" or "pdf" file on white."""
    data = io.BytesIO()
    drawn.savefig(data, format=kind, dpi=200, metadata=_METADATA[kind])
    return data.getvalue()
