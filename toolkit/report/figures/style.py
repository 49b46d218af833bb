"""The look of all figures: Okabe-Ito colours told apart in grey too, and stamps drawn into the image.

Source of the colours: Okabe and Ito, "Color universal design", 2008. Every series has a dash or a marker of its own
beside its colour. The greys below are written into SVG files as they are; a page replaces them by its own, so that they
follow a light or dark scheme.
"""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

INK = "#1b1b1d"
MUTED = "#5b5b5f"
RULE = "#d3d3d7"
PAPER = "#fefefe"
HEAT = "#0a5394"
ON_HEAT = "#fdfdfd"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK)
YELLOW = "#F0E442"  # for points with an edge only: a line of it is hardly seen on white
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">", "h", "*")
DASHES = ("-", (0, (5, 2)), (0, (1.2, 1.2)), (0, (6, 2, 1.2, 2)), (0, (3, 1.5)))
WIDTH = 9.6  # inches
_STAMP_CHARACTERS_PER_INCH = 15

SETTINGS = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: the same everywhere, and wider than what a page uses
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.labelsize": 8.5,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "axes.facecolor": "none",
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
    "lines.linewidth": 1.3,
    "lines.markersize": 3.8,
    "svg.fonttype": "none",  # text stays text: it can be searched and read aloud
    "svg.hashsalt": "toolkit",
    "axes.unicode_minus": True,
}


@contextmanager
def styled() -> Iterator[None]:
    """Within it, new figures look alike, whatever the user's own settings are."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield


def new_figure(*, height: float, width: float = WIDTH) -> Any:
    """An empty figure, in inches, that belongs to no window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06, wspace=0.04, hspace=0.04)
    return figure


def colour(place: int) -> str:
    """The colour of the series at a place."""
    return COLOURS[place % len(COLOURS)]


def point_colour(place: int) -> str:
    """The colour of points, which have an edge, of the class at a place."""
    return (*COLOURS, YELLOW)[place % (len(COLOURS) + 1)]


def marker(place: int) -> str:
    """The marker of the series at a place."""
    return MARKERS[place % len(MARKERS)]


def dash(place: int) -> Any:
    """The dash of the series at a place."""
    return DASHES[place % len(DASHES)]


def stamp(figure: Any, stamps: Sequence[str]) -> None:
    """Write stamps below a figure's panels, into the image itself."""
    if stamps:
        wide = round(figure.get_figwidth() * _STAMP_CHARACTERS_PER_INCH)
        lines = [line for said in stamps for line in textwrap.wrap(f"NOTE: {said}", wide, subsequent_indent="  ")]
        text = "\n".join(line.replace("$", r"\$") for line in lines)
        figure.supxlabel(text, x=0.008, ha="left", fontsize=7.5, fontweight="bold", color=INK)


def plain(text: str) -> str:
    """Text that matplotlib draws as it is: a dollar sign begins a formula otherwise."""
    return str(text).replace("$", r"\$")
