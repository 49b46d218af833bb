"""What `toolkit evaluate` and `toolkit compare` show to a reader; no torch."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from toolkit.inference.predict.evaluation import Evaluation
from toolkit.inference.predict.pairing import Pair
from toolkit.report.tables.formats import INTERVAL, P_VALUE, PERCENT, POINTS, POINTS_INTERVAL
from toolkit.statistics import METRICS
from toolkit.terminal import confusion_table, console_for_output

GENDERS = {"F": "women", "M": "men"}


def print_evaluation(evaluation: Evaluation) -> None:
    """Accuracies with intervals, by gender, confusion, and what has to be said of them."""
    console, summary, intervals = console_for_output(), evaluation.summary, evaluation.intervals
    table = _table(f"{evaluation.bundle} on {evaluation.manifest}", "utterances", "speakers")
    for column in ("WA %", "95 % interval", "UA %", "95 % interval", "macro F1 %", "ECE %"):
        table.add_column(column, justify="right")
    shares = [text for m in METRICS for text in (PERCENT.show(summary[m]), INTERVAL.show(intervals[m]))]
    shares += [PERCENT.show(summary["macro_f1"]), PERCENT.show(evaluation.calibration_error)]
    table.add_row(str(summary["n_utterances"]), str(len(evaluation.answers.speakers)), *shares)
    console.print(table)
    if by_gender := evaluation.by_gender:
        table = _table("By gender", "", "utterances", "WA %", "UA %")
        for gender, found in by_gender.items():
            table.add_row(GENDERS[gender], str(found.n), PERCENT.show(found.wa), PERCENT.show(found.ua))
        console.print(table)
    console.print(confusion_table(summary["labels"], summary["confusion"]))
    _print_notes(console, evaluation.notes, evaluation.stamps)


def print_pair(pair: Pair) -> None:
    """Accuracies of both with intervals, their differences with interval and test, and what has to be said of them."""
    console, intervals = console_for_output(), pair.intervals
    columns = [column for metric in METRICS for column in (f"{metric.upper()} %", "95 % interval")]
    table = _table("", "", "utterances", "speakers", *columns)
    for letter, (name, found) in zip("AB", pair.accuracies.items(), strict=True):
        shares = [t for m in METRICS for t in (PERCENT.show(getattr(found, m)), INTERVAL.show(intervals[name][m]))]
        table.add_row(f"{letter}: {name}", str(found.n), str(len(pair.first.speakers)), *shares)
    console.print(table)
    table = _table("B less A", "", "points", "95 % interval", "p", "verdict")
    for found in pair.differences:
        table.add_row(
            found.metric.upper(),
            POINTS.show(found.difference),
            POINTS_INTERVAL.show(found.interval),
            P_VALUE.show(found.p_corrected),
            found.verdict,
        )
    console.print(table)
    stamps = [f"{name}: {stamp}" for name, said in pair.stamps.items() for stamp in said]
    _print_notes(console, pair.notes, stamps)


def _table(title: str, *columns: str) -> Table:
    """The first column is a name, further ones are figures."""
    table = Table(title=title or None)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left", overflow="fold")
    return table


def _print_notes(console: Console, notes: Sequence[str], stamps: Sequence[str]) -> None:
    for note in notes:
        console.print(Text(note), soft_wrap=True)
    for stamp in stamps:
        console.print(Text(f"NOTE: {stamp}", style="yellow"), soft_wrap=True)
