r"""A table as Markdown, CSV and LaTeX, with its stamps in each.

>>> escape_markdown("mf_mtl|cr"), escape_latex("50 % of a_b")
('mf\\_mtl\\|cr', '50 \\% of a\\_b')
"""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.files import csv_text, templates, to_cell
from toolkit.report.tables.table import Column, Table, spans

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATES = Path(__file__).parents[1] / "template"
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~$&])")
_LATEX = {
    **{character: rf"\{character}" for character in "{}$&#%_"},
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "[": "{[}",  # at the start of a row it would be an argument of the row before
    "]": "{]}",
    "\N{MINUS SIGN}": "$-$",
    "\N{EN DASH}": "--",
    "\N{EM DASH}": "---",
    "±": r"$\pm$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "→": r"$\rightarrow$",
    "†": r"\dag{}",
    "\0": "{}",  # see escape_latex
}


def to_markdown(table: Table) -> str:
    """A GitHub-flavoured table below its title, with stamps and notes around it."""
    return _template("table.md.j2", escape_markdown).render(table=table, columns=_columns(table))


def to_csv(table: Table) -> str:
    """All rows with plain numbers in full precision; the stamps are a last column `note`, as in a run's files."""
    columns = _columns(table)
    head = [column.key + part for column in columns for part in column.format.parts]
    note = ["; ".join(table.stamps)] if table.stamps else []
    rows = [[value for column in columns for value in column.format.plain(row[column.key])] for row in table.rows]
    return csv_text([[*head, "note"] if note else head, *([*map(to_cell, values), *note] for values in rows)])


def to_latex(table: Table) -> str:
    """A table environment for booktabs."""
    marks = {"variable_start_string": "<<", "variable_end_string": ">>"}  # braces are LaTeX's own
    template = _template("table.tex.j2", escape_latex, **marks)
    return template.render(table=table, columns=_columns(table), spans=spans)


def escape_markdown(text: str) -> str:
    """Text that Markdown shows unchanged, in one line."""
    return _MARKDOWN.sub(r"\\\1", " ".join(str(text).split()))


def escape_latex(text: str) -> str:
    """Text that LaTeX prints unchanged, in one line."""
    line = re.sub("-(?=-)", "-\0", " ".join(str(text).split()))  # two hyphens would become a dash
    return line.translate(str.maketrans(_LATEX))


@cache
def _template(name: str, escape: Callable[[str], str], **marks: str) -> "Template":
    return templates(TEMPLATES, escape=escape, **marks).get_template(name)


def _columns(table: Table) -> list[Column]:
    return [column for column in table.columns if not column.format.page_only]
