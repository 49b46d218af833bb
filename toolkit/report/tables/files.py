r"""A table as Markdown, CSV and LaTeX, with its stamps in each. Light to import.

>>> escape_markdown("mf_mtl|cr"), escape_latex("50 % of a_b")
('mf\\_mtl\\|cr', '50 \\% of a\\_b')
"""

import csv
import io
import re
from collections.abc import Sequence

from toolkit.report.tables.table import Column, Table

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
    lines.append(_markdown_row(column.whole_head for column in columns))
    lines.append("|" + "|".join(" ---: " if column.format.numeric else " --- " for column in columns) + "|")
    lines += [_markdown_row(column.format.show(row[column.key]) for column in columns) for row in table.shown_rows]
    for note in table.notes:
        lines += ["", escape_markdown(note)]
    return "\n".join(lines) + "\n"


def to_csv(table: Table) -> str:
    """All rows with plain numbers in full precision; a stamped table has a last column `note`, as a run's files."""
    columns = _columns(table)
    head = [column.key + part for column in columns for part in column.format.parts]
    note = ["; ".join(table.stamps)] if table.stamps else []
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*head, "note"] if note else head)
    for row in table.rows:
        values = [value for column in columns for value in column.format.plain(row[column.key])]
        writer.writerow(["" if value is None else value for value in values] + note)
    return text.getvalue()


def to_latex(table: Table) -> str:
    """A table environment for booktabs."""
    columns = _columns(table)
    spans = [span for span in table.spans if any(column in columns for column in span.columns)]
    lines = ["% needs \\usepackage{booktabs}"]
    lines += [f"% NOTE: {' '.join(stamp.split())}" for stamp in table.stamps]
    lines += ["\\begin{table}", "\\centering", f"\\caption{{{escape_latex(table.title)}}}", "\\small"]
    lines.append("\\begin{tabular}{" + "".join("r" if column.format.numeric else "l" for column in columns) + "}")
    lines.append("\\toprule")
    if any(span.group for span in spans):
        lines += _latex_groups(spans)
    lines += [_latex_row(escape_latex(column.head) for column in columns), "\\midrule"]
    for row in table.shown_rows:
        lines.append(_latex_row(escape_latex(column.format.show(row[column.key])) for column in columns))
    lines += ["\\bottomrule", "\\end{tabular}"]
    for said in (*(f"NOTE: {stamp}" for stamp in table.stamps), *table.notes):
        lines += ["", f"\\smallskip\\parbox{{\\linewidth}}{{\\footnotesize {escape_latex(said)}}}"]
    lines.append("\\end{table}")
    return "\n".join(lines) + "\n"


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is, in one line."""
    return _MARKDOWN.sub(r"\\\1", " ".join(str(text).split()))


def escape_latex(text: str) -> str:
    """Text that LaTeX sets as it is, in one line."""
    return "".join(_LATEX.get(character, character) for character in " ".join(str(text).split()))


def _columns(table: Table) -> list[Column]:
    return [column for column in table.columns if not column.format.page_only]


def _markdown_row(values: Sequence[str]) -> str:
    return "| " + " | ".join(map(escape_markdown, values)) + " |"


def _latex_row(values: Sequence[str]) -> str:
    return " & ".join(values) + " \\\\"


def _latex_groups(spans: Sequence) -> list[str]:
    """The line of group heads, and a thin rule below each group."""
    heads, rules, at = [], [], 1
    for span in spans:
        width = len(span.columns)
        heads.append(f"\\multicolumn{{{width}}}{{c}}{{{escape_latex(span.group)}}}" if span.group else "")
        if span.group:
            rules.append(f"\\cmidrule(lr){{{at}-{at + width - 1}}}")
        at += width
    return [_latex_row(heads), " ".join(rules)]
