"""The look of all figures: Okabe-Ito colours that differ in grey too, and stamps drawn into the image.

Source of the colours: Okabe and Ito, "Color universal design", 2008. Every series has a dash or a marker of its own
beside its colour. The greys, here and in report.mplstyle, are written into SVG files as they are; a page replaces them
by its own, so that they follow a light or dark scheme.
"""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STYLE_SHEET = Path(__file__).with_name("report.mplstyle")
INK = "#1b1b1d"
MUTED = "#5b5b5f"
RULE = "#d3d3d7"
PAPER = "#fefefe"
HEAT = "#0a5394"
ON_HEAT = "#fdfdfd"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK)
YELLOW = "#F0E442"  # for points with an edge only: a line of it is hardly visible on white
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">", "h", "*")
DASHES = ("-", (0, (5, 2)), (0, (1.2, 1.2)), (0, (6, 2, 1.2, 2)), (0, (3, 1.5)))
WIDTH = 9.6  # inches
_STAMP_CHARACTERS_PER_INCH = 15


@contextmanager
def styled() -> Iterator[None]:
    """Within it, new figures look alike, whatever the user's own settings are."""
    import matplotlib.style

    with matplotlib.style.context(STYLE_SHEET, after_reset=True):
        yield


def new_figure(*, height: float, width: float = WIDTH) -> Any:
    """An empty figure, in inches, that belongs to no window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06, wspace=0.04, hspace=0.04)
    return figure


def colour(index: int) -> str:
    """The colour of a series."""
    return COLOURS[index % len(COLOURS)]


def point_colour(index: int) -> str:
    """The colour of the points of a class, which have an edge."""
    return (*COLOURS, YELLOW)[index % (len(COLOURS) + 1)]


def marker(index: int) -> str:
    """The marker of a series."""
    return MARKERS[index % len(MARKERS)]


def dash(index: int) -> Any:
    """The dash of a series."""
    return DASHES[index % len(DASHES)]


def stamp(figure: Any, stamps: Sequence[str]) -> None:
    """Write stamps below a figure's panels, into the image itself."""
    if stamps:
        wide = round(figure.get_figwidth() * _STAMP_CHARACTERS_PER_INCH)
        lines = [line for note in stamps for line in textwrap.wrap(f"NOTE: {note}", wide, subsequent_indent="  ")]
        text = "\n".join(line.replace("$", r"\$") for line in lines)
        figure.supxlabel(text, x=0.008, ha="left", fontsize=7.5, fontweight="bold", color=INK)


def plain(text: str) -> str:
    """Text that matplotlib draws as it is: a dollar sign begins a formula otherwise."""
    return str(text).replace("$", r"\$")
