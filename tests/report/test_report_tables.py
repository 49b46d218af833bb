import csv
import io
import re
from types import SimpleNamespace

import pytest

from toolkit.report.tables.table import (
    COUNT,
    DASH,
    INTERVAL,
    MINUS,
    OVER_FOLDS,
    P_VALUE,
    PERCENT,
    POINTS,
    POINTS_INTERVAL,
    TEXT,
    Column,
    Table,
    escape_latex,
    escape_markdown,
)
from toolkit.statistics.comparison import Interval
from toolkit.statistics.metrics import Spread

COLUMNS = [
    Column("system", "system"),
    Column("wa", "pooled", PERCENT, "WA %"),
    Column("wa_interval", "95 % interval", INTERVAL, "WA %"),
    Column("n", "n", COUNT),
]
ROWS = [
    {"system": "mf_mtl", "wa": 0.70561, "wa_interval": Interval(0.6, 0.8125), "n": 5531},
    {"system": "a|b", "wa": None, "wa_interval": None, "n": 0},
]
STAMPS = ("made up: 50 % & more", "second")


def table(name="t", stamps=STAMPS, complete=True):
    rows, runs = [SimpleNamespace(**row) for row in ROWS], [SimpleNamespace(results={"stamps": stamps})]
    return Table(name, "A_title", COLUMNS, rows, [SimpleNamespace(name="mf_mtl", complete=complete, runs=runs)])


@pytest.mark.parametrize(
    ("format", "value", "text", "plain"),
    [
        (PERCENT, 1 / 3, "33.33", (1 / 3,)),
        (POINTS, 0.0124, "+1.24", (0.0124,)),
        (POINTS, -0.0124, f"{MINUS}1.24", (-0.0124,)),
        (POINTS, -0.00001, "0.00", (-0.00001,)),
        (POINTS_INTERVAL, Interval(-0.01, 0.0), f"{MINUS}1.00 to 0.00", (-0.01, 0.0)),
        (P_VALUE, 0.0004, "< 0.001", (0.0004,)),
        (P_VALUE, 0.03125, "0.031", (0.03125,)),
        (OVER_FOLDS, Spread(0.7, 0.05, None), "70.00 ± 5.00", (0.7, 0.05)),
        (OVER_FOLDS, Spread(0.7, None, None), "70.00", (0.7, None)),
        (INTERVAL, None, DASH, (None, None)),
    ],
)
def test_a_value_is_rounded_for_a_reader_and_whole_for_a_file(format, value, text, plain):
    assert format.show(value) == text
    assert format.plain(value) == plain


def test_a_csv_file_has_plain_numbers_in_full_precision_and_the_stamps_in_a_last_column():
    rows = list(csv.DictReader(io.StringIO(table().csv())))
    assert list(rows[0]) == ["system", "wa", "wa_interval_low", "wa_interval_high", "n", "note"]
    note = "made up: 50 % & more; second"
    assert list(rows[0].values()) == ["mf_mtl", "0.70561", "0.6", "0.8125", "5531", note]
    assert list(rows[1].values()) == ["a|b", "", "", "", "0", note]


def test_without_stamps_there_is_no_note():
    assert table(stamps=()).csv().splitlines()[0].endswith(",n")
    assert "NOTE" not in table(stamps=()).markdown() + table(stamps=()).latex()


def test_a_note_names_the_systems_with_missing_cells():
    note = "Not all cells of mf_mtl are done: only finished ones count."
    assert table(complete=False).notes == [note] and table().notes == []


def test_a_markdown_table_has_its_stamps_and_as_many_cells_in_each_row():
    lines = table().markdown().splitlines()
    assert lines[0] == r"**A\_title**"
    assert lines[2] == r"> NOTE: made up: 50 % \& more"
    cells = [re.split(r"(?<!\\)\|", line) for line in lines if line.startswith("|")]
    assert [len(row) for row in cells] == [6, 6, 6, 6]
    assert cells[0] == ["", " system ", " WA % pooled ", " WA % 95 % interval ", " n ", ""]
    assert cells[2] == ["", r" mf\_mtl ", " 70.56 ", f" 60.00{DASH}81.25 ", " 5,531 ", ""]
    assert cells[3] == ["", r" a\|b ", f" {DASH} ", f" {DASH} ", " 0 ", ""]


def test_a_latex_table_is_set_with_booktabs_and_its_stamps_are_printed():
    lines = table(name="a_name").latex().splitlines()
    assert lines[1] == "% NOTE: made up: 50 % & more"
    assert "\\caption{A\\_title}\\label{tab:a_name}" in lines
    assert "\\begin{tabular}{lrrr}" in lines
    assert " & \\multicolumn{2}{c}{WA \\%} &  \\\\" in lines
    assert "\\cmidrule(lr){2-3}" in lines
    assert "mf\\_mtl & 70.56 & 60.00--81.25 & 5,531 \\\\" in lines
    assert "\\smallskip\\parbox{\\linewidth}{\\footnotesize NOTE: made up: 50 \\% \\& more}" in lines
    assert lines.index("\\toprule") < lines.index("\\midrule") < lines.index("\\bottomrule")
    assert "".join(lines).count("\\begin{") == "".join(lines).count("\\end{") == 2


def test_latex_gets_every_special_character_as_text():
    assert escape_latex(r"\{}$&#%_^~<>|[]") == (
        r"\textbackslash{}\{\}\$\&\#\%\_\textasciicircum{}\textasciitilde{}\textless{}\textgreater{}\textbar{}{[}{]}"
    )
    assert escape_latex("--abstain a-b ---") == "-{}-abstain a-b -{}-{}-"
    assert escape_latex(f"a\nb {DASH} {MINUS}1 ±") == r"a b -- $-$1 $\pm$"


def test_markdown_gets_every_special_character_as_text():
    assert escape_markdown("a*b_c`d|e<f>[g](h)\n#") == r"a\*b\_c\`d\|e\<f\>\[g\](h) \#"
    assert escape_markdown("\\") == "\\\\"


def test_a_csv_file_has_all_rows_and_markdown_only_the_shown_ones():
    rows = [{"id": str(number)} for number in range(60)]
    long = Table("t", "t", [Column("id", "id", TEXT)], [SimpleNamespace(**row) for row in rows], (), shown=50)
    assert len(long.csv().splitlines()) == 61
    assert long.markdown().count("\n| ") == 1 + 1 + 50 and "| 50 |" not in long.markdown()
