"""Prints the results of `toolkit evaluate`, `toolkit compare` and `toolkit stress`."""

from collections.abc import Sequence

from rich.console import Console

from toolkit.inference.predict.comparison import StressTest, SystemComparison
from toolkit.inference.predict.evaluation import CorpusEvaluation
from toolkit.inference.summary import TestSummary
from toolkit.report.tables.accuracy import GENDERS
from toolkit.report.tables.table import DASH, INTERVAL, NATS, P_VALUE, PERCENT, POINTS, POINTS_INTERVAL
from toolkit.statistics.metrics import METRICS
from toolkit.terminal import confusion_table, console_for_output, table_of

ACCURACIES = ("WA %", "95 % interval", "UA %", "95 % interval")


def print_evaluation(evaluation: CorpusEvaluation) -> None:
    """Print accuracies with intervals and by gender, confusion, calibration, abstaining and notes."""
    console, test, values = console_for_output(), evaluation.summary, evaluation.as_dict()
    title = f"{values['bundle']} on {values['manifest']}"
    table = table_of("utterances", "speakers", *ACCURACIES, "macro F1 %", "ECE %", title=title)
    cells = [*_accuracies(test), PERCENT.show(test.macro_f1), PERCENT.show(test.ece)]
    table.add_row(str(test.n_utterances), str(evaluation.n_speakers), *cells)
    console.print(table)
    if test.by_gender:
        table = table_of("", "utterances", "WA %", "UA %", title="By gender")
        for gender, found in test.by_gender.items():
            table.add_row(GENDERS[gender], str(found.n), PERCENT.show(found.wa), PERCENT.show(found.ua))
        console.print(table)
    console.print(confusion_table(evaluation.target.classes, test.confusion))
    table = table_of("", "ECE %", "NLL", "mean confidence %", title="Calibration")
    for when, found in values["calibration"].items():
        name = "as computed" if when == "before" else f"at temperature {values['temperature']:.2f}"
        table.add_row(name, PERCENT.show(found["ece"]), NATS.show(found["nll"]), PERCENT.show(found["confidence"]))
    console.print(table)
    if values["abstaining"]:
        table = table_of("--abstain", "labelled %", "of these wrong %", "mean of speakers %", title="Abstaining")
        for rule, found in values["abstaining"].items():
            table.add_row(rule, *(PERCENT.show(found[key]) for key in ("coverage", "error", "error_by_speaker")))
        console.print(table)
    _print_notes(console, evaluation.notes, evaluation.test.stamps)


def print_comparison(comparison: SystemComparison) -> None:
    """Print both systems' accuracies with intervals, their differences with interval and test, and notes."""
    console = console_for_output()
    table = table_of("", "utterances", "speakers", *ACCURACIES)
    for letter, e in zip("AB", comparison.evaluations.values(), strict=True):
        name, n_utterances = f"{letter}: {e.test.bundle}", str(e.summary.n_utterances)
        table.add_row(name, n_utterances, str(e.n_speakers), *_accuracies(e.summary))
    console.print(table)
    table = table_of("", "points", "95 % interval", "p", "verdict", title="B minus A")
    for found in comparison.differences:
        cells = POINTS.show(found.difference), POINTS_INTERVAL.show(found.interval), P_VALUE.show(found.p_corrected)
        table.add_row(found.metric.upper(), *cells, found.verdict)
    console.print(table)
    stamps = [f"{e.test.bundle}: {stamp}" for e in comparison.evaluations.values() for stamp in e.test.stamps]
    _print_notes(console, comparison.notes, stamps)


def print_stress(test: StressTest) -> None:
    """Print UA in each condition with its change, by gender and for the worst speaker, and notes."""
    console, first, genders = console_for_output(), test.baseline.test, list(test.baseline.summary.by_gender)
    columns = ("UA %", "95 % interval", "change, points", "95 % interval", *(f"UA %, {GENDERS[g]}" for g in genders))
    table = table_of("", *columns, "worst speaker", title=f"{first.bundle} on {first.manifest}")
    for title, evaluation in test.evaluations.items():
        summary, change, worst = evaluation.summary, test.changes.get(title), test.worst_speaker(title)
        cells = [PERCENT.show(summary.ua), INTERVAL.show(summary.interval("ua"))]
        cells += [POINTS.show(change.difference), POINTS_INTERVAL.show(change.interval)] if change else ["", ""]
        cells += [PERCENT.show(summary.by_gender[gender].ua) for gender in genders]
        table.add_row(title, *cells, f"{worst[0]}: {PERCENT.show(worst[1])}" if worst else DASH)
    console.print(table)
    _print_notes(console, test.baseline.notes, first.stamps)


def _accuracies(test: TestSummary) -> list[str]:
    return [t for m in METRICS for t in (PERCENT.show(getattr(test, m)), INTERVAL.show(test.interval(m)))]


def _print_notes(console: Console, notes: Sequence[str], stamps: Sequence[str]) -> None:
    for note in notes:
        console.print(note, soft_wrap=True)
    for stamp in stamps:
        console.print(f"NOTE: {stamp}", style="yellow", soft_wrap=True)
