"""What a figure is, and how it becomes PNG, SVG, and SVG for a page: the same figure, the same bytes."""

import html
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.errors import join
from toolkit.report.evidence import SystemRuns
from toolkit.report.figures import style

DOTS_PER_INCH = 200
PAGE_COLOURS = {
    style.INK: "currentColor",
    style.MUTED: "var(--muted)",
    style.RULE: "var(--rule)",
    style.PAPER: "var(--paper)",
    style.HEAT: "var(--heat)",
    style.ON_HEAT: "var(--on-heat)",
}

_TAG = re.compile(r"<[^>]+>")
_NOT_FOR_PAGES = (
    r"<metadata>.*?</metadata>",
    r'<style type="text/css">.*?</style>',  # would apply to the whole page
    r'<g id="patch_1">.*?</g>',  # the white background
)


@dataclass(frozen=True)
class Figure:
    """A figure that can be drawn.

    Args:
        name: of its files, without ending.
        title: what it shows, in one line.
        caption: how to read it.
        alt: its content in words, for readers who do not see it.
        draw: makes the matplotlib figure, without its stamps.
        stamps: notes that are drawn into the image.
    """

    name: str
    title: str
    caption: str
    alt: str
    draw: Callable[[], Any]
    stamps: tuple[str, ...] = ()

    def render(self) -> tuple[bytes, bytes, str]:
        """The PNG file, the SVG file, and the SVG for a page."""
        with style.styled():
            drawn = self.draw()
            style.stamp(drawn, self.stamps)
            drawn.draw_without_rendering()
            drawn.set_layout_engine("none")  # panels stay where they are, the same for every file
            svg, png = saved(drawn, "svg"), saved(drawn, "png")
        return png, svg, page_svg(svg.decode(), name=self.name, alt=html.escape(self.alt))


def names_of(tested: Sequence[SystemRuns]) -> str:
    """The systems' names as a list in a sentence."""
    return join(system.system for system in tested)


def incomplete_sentence(tested: Sequence[SystemRuns]) -> str:
    """A sentence that names the systems with missing cells; empty where there are none."""
    missing = [system for system in tested if not system.complete]
    return f" Not all cells are done of {names_of(missing)}." if missing else ""


def saved(drawn: Any, kind: str) -> bytes:
    """A "png" or "svg" file of the figure, on white, with nothing in it that differs each time."""
    data, unwanted = io.BytesIO(), {"png": ("Software",), "svg": ("Date", "Creator")}
    drawn.savefig(data, format=kind, dpi=DOTS_PER_INCH, metadata=dict.fromkeys(unwanted[kind]))
    return data.getvalue()


def page_svg(svg: str, *, name: str, alt: str) -> str:
    """An SVG file as part of a page: as wide as the page allows, in the page's colours and fonts.

    Args:
        svg: the file's text.
        name: unique in the page; begins all ids.
        alt: the content in words; must be escaped.
    """
    body = svg[svg.index("<svg") :]
    for unwanted in _NOT_FOR_PAGES:
        body = re.sub(unwanted, "", body, count=1, flags=re.DOTALL)
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
