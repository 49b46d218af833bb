"""The accuracies of systems: one row a system. A further column is one entry of `accuracy_table`'s columns."""

from collections.abc import Sequence

from toolkit.report.evidence import Evidence, SystemRuns, stamps_of
from toolkit.report.tables.columns import SYSTEM, incomplete_note, percent
from toolkit.report.tables.formats import COUNT, DONE, INTERVAL, OVER_FOLDS, OVER_SEEDS, PERCENT
from toolkit.report.tables.table import Column, Table
from toolkit.statistics import METRICS, interval


def accuracy_table(evidence: Evidence, systems: Sequence[str], protocol: str, *, name: str, title: str) -> Table:
    """WA and UA of each system: pooled with interval, mean over folds, deviation over seeds, and what was published.

    Args:
        evidence: the experiment's.
        systems: its rows; the first is the baseline.
        protocol: the one whose runs count.
        name: of the table's files.
        title: of the table.
    """
    rows = evidence.all_of(systems, protocol)
    columns = [SYSTEM]
    for metric in METRICS:
        columns += _metric_columns(metric)
        if any(metric in published(row) for row in rows):
            columns.append(_published_column(metric))
    columns += [
        Column("speakers", "speakers", COUNT, value=lambda row: len(row.speakers)),
        Column("cells", "cells", DONE, value=lambda row: (len(row.runs), row.planned)),
    ]
    notes = [
        "Pooled: all test utterances together, the mean over seeds. Folds: mean over folds ± standard deviation over "
        "folds. Seeds ±: standard deviation over seeds."
    ]
    if len(systems) > 1:
        notes[0] += f" {systems[0]} is the baseline."
    sources = dict.fromkeys(published(row)["source"] for row in rows if published(row))
    if sources:
        notes.append(f"Published: {'; '.join(sources)}; their protocol may differ from ours.")
    return Table(name, title, columns, rows, stamps_of(rows), [*notes, *incomplete_note(rows)])


def published(tested: SystemRuns) -> dict:
    """Published accuracies on the corpus of the runs, in fractions of 1, and their `source`; {} without any."""
    figures = tested.recipe.get("published") or {}
    results = [run.results for run in tested.runs]
    if not results or any(found["synthetic"] or found["corpus"] != figures.get("corpus") for found in results):
        return {}
    found = {metric: figures[metric] / 100 for metric in METRICS if figures.get(metric) is not None}
    return {**found, "source": figures["source"]} if found else {}


def _metric_columns(metric: str) -> list[Column]:
    def interval_of(row: SystemRuns):
        return interval(row.confusions.counts, metric) if row.confusions else None

    group = percent(metric)
    return [
        Column(metric, "pooled", PERCENT, group, lambda row: getattr(row.pooled, metric, None)),
        Column(f"{metric}_interval", "95 % interval", INTERVAL, group, interval_of),
        Column(f"{metric}_folds", "folds", OVER_FOLDS, group, lambda row: row.spread.get(metric)),
        Column(f"{metric}_seeds", "seeds ±", OVER_SEEDS, group, lambda row: row.spread.get(metric)),
    ]


def _published_column(metric: str) -> Column:
    return Column(f"{metric}_published", "published", PERCENT, percent(metric), lambda row: published(row).get(metric))
