"""Tables of results and of a corpus; no torch."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from toolkit.terminal import confusion_table, console_for_output


def print_results(results: Mapping[str, Any]) -> None:
    """A run's test: WA, UA, the row-normalised confusion matrix, and notes.

    Args:
        results: the content of results.json.
    """
    console = console_for_output()
    part = f"fold {results['fold']} of {results['protocol']}, seed {results['seed']}"
    corpus = results["corpus"] if not results["synthetic"] else "a synthetic corpus"
    table = Table(title=f"Test of {results['system']} on {corpus}, {part}")
    table.add_column("utterances", justify="right")
    for column in ("WA %", "UA %", "macro F1 %"):
        table.add_column(column, justify="right")
    shares = [f"{100 * results[name]:.2f}" for name in ("wa", "ua", "macro_f1")]
    table.add_row(str(results["n_utterances"]), *shares)
    console.print(table)
    console.print(confusion_table(results["labels"], results["confusion"]))
    for stamp in results["stamps"]:
        console.print(f"NOTE: {stamp}", style="yellow", markup=False, soft_wrap=True)


def print_counts(counts: Mapping[str, Mapping[str, int]]) -> None:
    """Utterances by speaker and class, with sums.

    Args:
        counts: speaker -> label -> number.
    """
    labels = list(dict.fromkeys(label for row in counts.values() for label in row))
    table = Table(title="Utterances by speaker and class", show_footer=len(counts) > 1)
    table.add_column("speaker", footer="all")
    for label in labels:
        table.add_column(label, justify="right", footer=str(sum(row.get(label, 0) for row in counts.values())))
    table.add_column("all", justify="right", footer=str(sum(sum(row.values()) for row in counts.values())))
    for speaker, row in counts.items():
        table.add_row(speaker, *(str(row.get(label, 0)) for label in labels), str(sum(row.values())))
    console_for_output().print(table)
