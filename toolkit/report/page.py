"""The page: one self-contained HTML file."""

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from toolkit.report.sections import Section
from toolkit.report.tables.table import spans

TEMPLATES = Path(__file__).parent / "template"


def render_page(
    *,
    title: str,
    summary: Sequence[str],
    stamps: Sequence[str],
    sections: Sequence[Section],
    pictures: Mapping[str, str],
) -> str:
    """Render the page; all that comes from data is escaped.

    Args:
        title: of the page.
        summary: sentences at its top.
        stamps: notes on the page as a whole.
        sections: in order.
        pictures: name of a figure -> its SVG for a page.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["spans"] = spans
    environment.filters["breakable"] = lambda text: Markup(breakable(text))
    text = environment.get_template("page.html.j2").render(
        title=title,
        summary=summary,
        stamps=stamps,
        sections=sections,
        pictures={name: Markup(svg) for name, svg in pictures.items()},
    )
    return re.sub(r"\n\s*\n+", "\n", text).lstrip()


def breakable(text: str) -> str:
    """A name as HTML that may be broken after its underscores and plus signs.

    >>> breakable("mf_mtl<b>")
    'mf_<wbr>mtl&lt;b&gt;'
    """
    return re.sub(r"(?<=[_+])(?=\w)", "<wbr>", html.escape(text))
