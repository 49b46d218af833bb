"""Prints the results of `toolkit evaluate`, `toolkit compare` and `toolkit stress`."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from toolkit.report.tables.accuracy import GENDERS
from toolkit.report.tables.table import DASH, INTERVAL, NATS, P_VALUE, PERCENT, POINTS, POINTS_INTERVAL
from toolkit.statistics.metrics import METRICS
from toolkit.terminal import confusion_table, console_for_output, table_of

ACCURACIES = ("WA %", "95 % interval", "UA %", "95 % interval")


def print_evaluation(values: Mapping[str, Any]) -> None:
    """Print accuracies with intervals and by gender, confusion, calibration, abstaining and notes."""
    console = console_for_output()
    title = f"{values['bundle']} on {values['manifest']}"
    table = table_of("utterances", "speakers", *ACCURACIES, "macro F1 %", "ECE %", title=title)
    cells = [*_accuracies(values), PERCENT.show(values["macro_f1"]), PERCENT.show(values["calibration_error"])]
    table.add_row(str(values["n_utterances"]), str(values["n_speakers"]), *cells)
    console.print(table)
    if values["by_gender"]:
        table = table_of("", "utterances", "WA %", "UA %", title="By gender")
        for gender, found in values["by_gender"].items():
            table.add_row(GENDERS[gender], str(found["n"]), *(PERCENT.show(found[metric]) for metric in METRICS))
        console.print(table)
    console.print(confusion_table(values["labels"], values["confusion"]))
    title = "Calibration" if "after" in values["calibration"] else "Calibration (the bundle has no temperature)"
    table = table_of("", "ECE %", "NLL", "mean confidence %", title=title)
    for when, found in values["calibration"].items():
        name = "as computed" if when == "before" else f"at temperature {values['temperature']:.2f}"
        table.add_row(name, PERCENT.show(found["ece"]), NATS.show(found["nll"]), PERCENT.show(found["confidence"]))
    console.print(table)
    if values["abstaining"]:
        table = table_of("--abstain", "labelled %", "of these wrong %", "mean of speakers %", title="Abstaining")
        for rule, found in values["abstaining"].items():
            table.add_row(rule, *(PERCENT.show(found[key]) for key in ("coverage", "error", "error_by_speaker")))
        console.print(table)
    _print_notes(console, values["notes"], values["stamps"])


def print_comparison(values: Mapping[str, Any]) -> None:
    """Print both systems' accuracies with intervals, their differences with interval and test, and notes."""
    console = console_for_output()
    table = table_of("", "utterances", "speakers", *ACCURACIES)
    for letter, system in zip("AB", values["systems"], strict=True):
        counts = (str(values[key]) for key in ("n_utterances", "n_speakers"))
        table.add_row(f"{letter}: {system['bundle']}", *counts, *_accuracies(system))
    console.print(table)
    table = table_of("", "points", "95 % interval", "p", "verdict", title="B minus A")
    for metric, found in values["differences"].items():
        cells = POINTS.show(found["difference"]), POINTS_INTERVAL.show(found["interval"])
        table.add_row(metric.upper(), *cells, P_VALUE.show(found["p_corrected"]), found["verdict"])
    console.print(table)
    stamps = [f"{system['bundle']}: {stamp}" for system in values["systems"] for stamp in system["stamps"]]
    _print_notes(console, values["notes"], stamps)


def print_stress(values: Mapping[str, Any]) -> None:
    """Print UA in each condition with its change, by gender and for the worst speaker, and notes."""
    console, conditions = console_for_output(), values["conditions"]
    genders = [f"UA %, {GENDERS[gender]}" for gender in next(iter(conditions.values()))["by_gender"]]
    columns = ("UA %", "95 % interval", "change, points", "95 % interval", *genders, "worst speaker")
    table = table_of("", *columns, title=f"{values['bundle']} on {values['manifest']}")
    for number, (title, found) in enumerate(conditions.items()):
        change = [POINTS.show(found["change"]), POINTS_INTERVAL.show(found["change_interval"])]
        cells = [PERCENT.show(found["ua"]), INTERVAL.show(found["intervals"]["ua"]), *(change if number else ["", ""])]
        cells += [PERCENT.show(of_gender["ua"]) for of_gender in found["by_gender"].values()]
        worst = found["worst_speaker"]
        table.add_row(title, *cells, f"{worst[0]}: {PERCENT.show(worst[1])}" if worst else DASH)
    console.print(table)
    _print_notes(console, values["notes"], values["stamps"])


def _accuracies(values: Mapping[str, Any]) -> list[str]:
    return [text for m in METRICS for text in (PERCENT.show(values[m]), INTERVAL.show(values["intervals"][m]))]


def _print_notes(console: Console, notes: Sequence[str], stamps: Sequence[str]) -> None:
    for note in notes:
        console.print(note, soft_wrap=True)
    for stamp in stamps:
        console.print(f"NOTE: {stamp}", style="yellow", soft_wrap=True)
