"""The accuracies of systems: one row per system."""

from collections.abc import Sequence

import numpy as np

from toolkit.errors import counted
from toolkit.report.evidence import SystemRuns, stamps_of
from toolkit.report.tables.formats import COUNT, DONE, INTERVAL, OVER_FOLDS, OVER_SEEDS, PERCENT
from toolkit.report.tables.table import SYSTEM, Column, Table, incomplete_note, percent
from toolkit.statistics.comparison import interval
from toolkit.statistics.metrics import METRICS


def accuracy_table(rows: Sequence[SystemRuns], *, name: str, title: str) -> Table:
    """WA and UA of each system: pooled with interval, mean over folds, deviation over seeds, published figures.

    The first is the baseline.
    """
    columns = [SYSTEM]
    for metric in METRICS:
        columns += _metric_columns(metric, published=any(metric in _published(row) for row in rows))
    columns.append(Column("speakers", "speakers", COUNT, value=lambda row: len(row.speakers)))
    columns.append(Column("cells", "cells", DONE, value=lambda row: (len(row.runs), row.planned)))
    notes = [
        "Pooled: all test utterances together, the mean over seeds. Folds: mean over folds ± standard deviation over "
        f"folds. Seeds ±: standard deviation over seeds.{f' {rows[0].name} is the baseline.' if rows[1:] else ''}"
    ]
    if sources := dict.fromkeys(_published(row)["source"] for row in rows if _published(row)):
        notes.append(f"Published: {'; '.join(sources)}; their protocol may differ from ours.")
    if fixed := [row.name for row in rows if not row.seeds_differ]:
        notes.append(f"Does not depend on the seed: {', '.join(fixed)}.")
    notes += incomplete_note(rows)
    for row in (row for row in rows if 0 < len(row.folds) < row.planned_folds):
        few = f"{len(row.folds)} of {counted(row.planned_folds, 'fold')} only"
        notes.append(f"{row.name}: {few}; its row is not comparable with the others.")
    return Table(name, title, columns, rows, stamps_of(rows), notes)


def _published(tested: SystemRuns) -> dict:
    """Published accuracies on the corpus of the runs, in fractions of 1, and their `source`; {} without any."""
    figures, results = tested.recipe["published"], [run.results for run in tested.runs]
    if not results or any(found["synthetic"] or found["corpus"] != figures["corpus"] for found in results):
        return {}
    found = {metric: figures[metric] / 100 for metric in METRICS if figures[metric] is not None}
    return {**found, "source": figures["source"]} if found else {}


def _metric_columns(metric: str, *, published: bool) -> list[Column]:
    def interval_of(row: SystemRuns):
        known = row.confusions and "" not in row.confusions
        return interval(np.stack([*row.confusions.values()]), metric) if known else None

    group = percent(metric)
    columns = [
        Column(metric, "pooled", PERCENT, group, lambda row: getattr(row.pooled, metric, None)),
        Column(f"{metric}_interval", "95 % interval", INTERVAL, group, interval_of),
        Column(f"{metric}_folds", "folds", OVER_FOLDS, group, lambda row: row.spread.get(metric)),
        Column(f"{metric}_seeds", "seeds ±", OVER_SEEDS, group, lambda row: row.spread.get(metric)),
        Column(f"{metric}_published", "published", PERCENT, group, lambda row: _published(row).get(metric)),
    ]
    return columns if published else columns[:-1]
