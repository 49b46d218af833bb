"""A drawn figure as PNG, as SVG, and as SVG for a page. The same figure always gives the same bytes."""

import io
import re
from typing import Any

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
    r'<style type="text/css">.*?</style>',  # would hold for the whole page
    r'<g id="patch_1">.*?</g>',  # the white ground
)


def lay_out(figure: Any) -> None:
    """Place its panels once, the same for every file."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def png_bytes(figure: Any) -> bytes:
    """The figure on white."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return data.getvalue()


def svg_text(figure: Any) -> str:
    """The figure on white, for printing; its text is text."""
    data = io.StringIO()
    figure.savefig(data, format="svg", metadata={"Date": None, "Creator": None})
    return data.getvalue()


def page_svg(svg: str, *, name: str, label: str) -> str:
    """What a page holds of an SVG file: as wide as its place, in the page's colours and fonts.

    Args:
        svg: the file's text.
        name: unique in the page; begins all ids.
        label: what a reader who does not see it is told; must be escaped.
    """
    body = svg[svg.index("<svg") :]
    for unwanted in _NOT_FOR_PAGES:
        body = re.sub(unwanted, "", body, count=1, flags=re.DOTALL)
    return _TAG.sub(lambda tag: _page_tag(tag[0], name, label), body)


def _page_tag(tag: str, name: str, label: str) -> str:
    """One tag of an SVG file as a page has it; what stands between tags is left alone."""
    if tag.startswith("<svg"):
        view = re.search(r'viewBox="[^"]+"', tag)[0]
        return f'<svg {view} role="img" aria-label="{label}">'
    tag = re.sub(r'\bid="', f'id="{name}-', tag)
    tag = re.sub(r'(href="|url\()#', rf"\1#{name}-", tag)
    tag = re.sub(r"font-family: [^;\"]+(; )?", "", tag)
    tag = re.sub(r"font: ([^;\"]*?[\d.]+px) [^;\"]+", r"font: \1 var(--sans)", tag)
    for old, new in PAGE_COLOURS.items():
        tag = re.sub(old, new, tag, flags=re.IGNORECASE)
    return tag
