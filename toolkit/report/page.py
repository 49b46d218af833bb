"""The page: one HTML file that needs nothing else."""

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from toolkit.report.sections import Section

TEMPLATES = Path(__file__).parent / "template"


def render_page(
    *,
    title: str,
    in_short: Sequence[str],
    stamps: Sequence[str],
    sections: Sequence[Section],
    pictures: Mapping[str, str],
) -> str:
    """Put the page together. All that comes from data is escaped.

    Args:
        title: of the page.
        in_short: sentences at its top.
        stamps: what has to be said of the page as a whole.
        sections: in order.
        pictures: name of a drawing -> its SVG, as `figures.files.page_svg` makes it.
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
    environment.filters["breakable"] = lambda text: Markup(breakable(text))
    text = environment.get_template("page.html.j2").render(
        title=title,
        in_short=in_short,
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
