"""A figure, its look, its PNG, SVG and PDF, and its SVG for a page. The same figure always gives the same bytes.

The colours are those of Okabe and Ito, "Color universal design", 2008, which also differ in grey. Every series has its
own dash or marker besides its colour. The greys, here and in report.mplstyle, are written into SVG files as
they are; a page replaces them with its own, so that they follow a light or dark scheme.
"""

import html
import io
import re
import textwrap
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.errors import join
from toolkit.report.evidence import SystemRuns

STYLE_SHEET = Path(__file__).with_name("report.mplstyle")
INK = "#1b1b1d"
MUTED = "#5b5b5f"
RULE = "#d3d3d7"
PAPER = "#fefefe"
HEAT = "#0a5394"
ON_HEAT = "#fdfdfd"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK)
YELLOW = "#F0E442"  # for points only, which have an edge: a yellow line is hardly visible on white
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">", "h", "*")
DASHES = ("-", (0, (5, 2)), (0, (1.2, 1.2)), (0, (6, 2, 1.2, 2)), (0, (3, 1.5)))
WIDTH, NARROW = 9.6, 5.6  # inches: several panels, one panel
_STAMP_CHARACTERS_PER_INCH = 15
DOTS_PER_INCH = 200
PAGE_COLOURS = {
    INK: "currentColor",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    PAPER: "var(--paper)",
    HEAT: "var(--heat)",
    ON_HEAT: "var(--on-heat)",
}

_TAG = re.compile(r"<[^>]+>")
_NOT_FOR_PAGES = (
    r"<metadata>.*?</metadata>"
    r'|<style type="text/css">.*?</style>'  # would apply to the whole page
    r'|<g id="patch_1">.*?</g>'  # the white background
)


@dataclass(frozen=True)
class Figure:
    """A figure that can be drawn."""

    name: str  # of its files, without ending
    title: str  # what it shows, in one line
    caption: str  # how to read it
    alt: str  # its content in words, for readers who do not see it
    draw: Callable[[], Any]  # makes the matplotlib figure, without its stamps
    stamps: tuple[str, ...] = ()  # notes that are drawn into the image

    def render(self) -> tuple[dict[str, bytes], str]:
        """Its files by ending, and the SVG for a page."""
        with styled():
            drawn = self.draw()
            stamp(drawn, self.stamps)
            drawn.get_layout_engine().execute(drawn)
            drawn.set_layout_engine("none")  # panels stay where they are, the same for every file
            files = {ending: image_bytes(drawn, ending) for ending in ("svg", "pdf", "png")}
        return files, page_svg(files["svg"].decode(), name=self.name, alt=html.escape(self.alt))


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
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": DASHES[index % len(DASHES)],
        "marker": MARKERS[index % len(MARKERS)],
    }


def point_style(index: int) -> dict[str, Any]:
    """The colour and marker of a class's points, which have an edge."""
    colours = (*COLOURS, YELLOW)
    return {"color": colours[index % len(colours)], "marker": MARKERS[index % len(MARKERS)]}


def stamp(figure: Any, stamps: Sequence[str]) -> None:
    """Write stamps below a figure's panels, into the image itself."""
    if stamps:
        wide = round(figure.get_figwidth() * _STAMP_CHARACTERS_PER_INCH)
        lines = [line for note in stamps for line in textwrap.wrap(f"NOTE: {note}", wide, subsequent_indent="  ")]
        figure.supxlabel("\n".join(lines), x=0.008, ha="left", fontsize=7.5, fontweight="bold", color=INK)


def names_of(tested: Sequence[SystemRuns]) -> str:
    """The systems' names as a list in a sentence."""
    return join(system.name for system in tested)


def incomplete_sentence(tested: Sequence[SystemRuns]) -> str:
    """A sentence that names the systems with missing cells; empty where there are none."""
    missing = [system for system in tested if not system.complete]
    return f" Not all cells of {names_of(missing)} are done." if missing else ""


def image_bytes(drawn: Any, kind: str) -> bytes:
    """The figure as a "png", "svg" or "pdf" file on white, without metadata that would differ each time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    data = io.BytesIO()
    drawn.dpi = DOTS_PER_INCH
    if kind == "png":  # not by savefig, which draws each figure twice
        FigureCanvasAgg(drawn).print_png(data, metadata={"Software": None})
    elif kind == "pdf":
        FigureCanvasPdf(drawn).print_pdf(data, metadata=dict.fromkeys(("CreationDate", "Creator", "Producer")))
    else:
        FigureCanvasSVG(drawn).print_svg(data, metadata={"Date": None, "Creator": None})
    return data.getvalue()


def page_svg(svg: str, *, name: str, alt: str) -> str:
    """An SVG file as part of a page: as wide as the page allows, in the page's colours and fonts.

    All ids begin with the name, which is unique in the page; `alt` is the content in words, already escaped.
    """
    body = re.sub(_NOT_FOR_PAGES, "", svg[svg.index("<svg") :], flags=re.DOTALL)
    return _TAG.sub(lambda tag: _page_tag(tag[0], name, alt), body)


def _page_tag(tag: str, name: str, alt: str) -> str:
    """One tag of an SVG file for a page; the text between tags stays as it is."""
    if tag.startswith("<svg"):
        view = re.search(r'viewBox="[^"]+"', tag)[0]
        return f'<svg {view} role="img" aria-label="{alt}">'
    tag = re.sub(r'\bid="', f'id="{name}-', tag)
    tag = re.sub(r'(href="|url\()#', rf"\1#{name}-", tag)
    tag = re.sub(r"font-family: [^;\"]+(; )?", "", tag)
    tag = re.sub(r"font: ([^;\"]*?[\d.]+px) [^;\"]+", r"font: \1 var(--sans)", tag)
    for old, new in PAGE_COLOURS.items():
        tag = re.sub(old, new, tag, flags=re.IGNORECASE)
    return tag
