r"""A table as Markdown, CSV and LaTeX, with its stamps in each.

>>> escape_markdown("mf_mtl|cr"), escape_latex("50 % of a_b")
('mf\\_mtl\\|cr', '50 \\% of a\\_b')
"""

import csv
import io
import re
from collections.abc import Sequence

from toolkit.files import to_cell
from toolkit.report.tables.table import Column, Table, spans

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~$&])")
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
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
}


def to_markdown(table: Table) -> str:
    """A GitHub-flavoured table below its title, with stamps and notes around it."""
    columns = _columns(table)
    lines = [f"**{escape_markdown(table.title)}**", ""]
    for stamp in table.stamps:
        lines += [f"> NOTE: {escape_markdown(stamp)}", ""]
    lines.append(_markdown_row(f"{column.group} {column.title}".strip() for column in columns))
    lines.append("|" + "|".join(" ---: " if column.format.numeric else " --- " for column in columns) + "|")
    lines += [_markdown_row(column.format.show(row[column.key]) for column in columns) for row in table.shown_rows]
    for note in table.notes:
        lines += ["", escape_markdown(note)]
    return "\n".join(lines) + "\n"


def to_csv(table: Table) -> str:
    """All rows with plain numbers in full precision; the stamps are a last column `note`, as in a run's files."""
    columns = _columns(table)
    head = [column.key + part for column in columns for part in column.format.parts]
    note = ["; ".join(table.stamps)] if table.stamps else []
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*head, "note"] if note else head)
    for row in table.rows:
        values = [value for column in columns for value in column.format.plain(row[column.key])]
        writer.writerow(["" if value is None else to_cell(value) for value in values] + note)
    return text.getvalue()


def to_latex(table: Table) -> str:
    """A table environment for booktabs."""
    columns = _columns(table)
    lines = ["% needs \\usepackage{booktabs}"]
    lines += [f"% NOTE: {' '.join(stamp.split())}" for stamp in table.stamps]
    lines += ["\\begin{table}", "\\centering", f"\\caption{{{escape_latex(table.title)}}}", "\\small"]
    lines.append("\\begin{tabular}{" + "".join("r" if column.format.numeric else "l" for column in columns) + "}")
    lines.append("\\toprule")
    if any(column.group for column in columns):
        lines += _latex_groups(columns)
    lines += [_latex_row(escape_latex(column.title) for column in columns), "\\midrule"]
    for row in table.shown_rows:
        lines.append(_latex_row(escape_latex(column.format.show(row[column.key])) for column in columns))
    lines += ["\\bottomrule", "\\end{tabular}"]
    for note in (*(f"NOTE: {stamp}" for stamp in table.stamps), *table.notes):
        lines += ["", f"\\smallskip\\parbox{{\\linewidth}}{{\\footnotesize {escape_latex(note)}}}"]
    lines.append("\\end{table}")
    return "\n".join(lines) + "\n"


def escape_markdown(text: str) -> str:
    """Text that Markdown shows unchanged, in one line."""
    return _MARKDOWN.sub(r"\\\1", " ".join(str(text).split()))


def escape_latex(text: str) -> str:
    """Text that LaTeX prints unchanged, in one line."""
    return "".join(_LATEX.get(character, character) for character in " ".join(str(text).split()))


def _columns(table: Table) -> list[Column]:
    return [column for column in table.columns if not column.format.page_only]


def _markdown_row(values: Sequence[str]) -> str:
    return "| " + " | ".join(map(escape_markdown, values)) + " |"


def _latex_row(values: Sequence[str]) -> str:
    return " & ".join(values) + " \\\\"


def _latex_groups(columns: Sequence[Column]) -> list[str]:
    """The line of group titles, and a thin rule below each group."""
    titles, rules, first = [], [], 1
    for group, members in spans(columns):
        titles.append(f"\\multicolumn{{{len(members)}}}{{c}}{{{escape_latex(group)}}}" if group else "")
        if group:
            rules.append(f"\\cmidrule(lr){{{first}-{first + len(members) - 1}}}")
        first += len(members)
    return [_latex_row(titles), " ".join(rules)]
