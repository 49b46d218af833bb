"""The look of all figures: Okabe-Ito colours that differ in grey too, and stamps drawn into the image.

Source of the colours: Okabe and Ito, "Color universal design", 2008. Every series has a dash or a marker of its own
beside its colour. The greys, here and in report.mplstyle, are written into SVG files as they are; a page replaces them
by its own, so that they follow a light or dark scheme.
"""

import textwrap
from collections.abc import Sequence
from contextlib import AbstractContextManager
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
WIDTH, NARROW = 9.6, 5.6  # inches, of several panels and of one
_STAMP_CHARACTERS_PER_INCH = 15


def styled() -> AbstractContextManager:
    """Within it, new figures look alike, whatever the user's own settings are."""
    import matplotlib.style

    return matplotlib.style.context(STYLE_SHEET, after_reset=True)


def new_figure(*, height: float, panels: int = 2) -> Any:
    """An empty figure for so many panels beside each other, `height` in inches, that belongs to no window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH if panels > 1 else NARROW, height))


def series(index: int) -> dict[str, Any]:
    """The colour, dash and marker of a line."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": DASHES[index % len(DASHES)],
        "marker": MARKERS[index % len(MARKERS)],
    }


def points(index: int) -> dict[str, Any]:
    """The colour and marker of the points of a class, which have an edge."""
    colours = (*COLOURS, YELLOW)
    return {"color": colours[index % len(colours)], "marker": MARKERS[index % len(MARKERS)]}


def stamp(figure: Any, stamps: Sequence[str]) -> None:
    """Write stamps below a figure's panels, into the image itself."""
    if stamps:
        wide = round(figure.get_figwidth() * _STAMP_CHARACTERS_PER_INCH)
        lines = [line for note in stamps for line in textwrap.wrap(f"NOTE: {note}", wide, subsequent_indent="  ")]
        figure.supxlabel("\n".join(lines), x=0.008, ha="left", fontsize=7.5, fontweight="bold", color=INK)
