"""The accuracies of systems: one row per system, over all utterances and by gender and duration; and by speaker."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from toolkit.report.evidence import SystemRuns
from toolkit.report.tables.table import (
    COUNT,
    DONE,
    INTERVAL,
    OVER_FOLDS,
    OVER_SEEDS,
    PERCENT,
    PERCENT_1,
    SYSTEM,
    Column,
    Table,
)
from toolkit.statistics.comparison import interval
from toolkit.statistics.metrics import METRICS, accuracies_of
from toolkit.training.predictions import Answers

GENDERS = {"F": "women", "M": "men"}


def accuracy_table(rows: Sequence[SystemRuns], *, name: str, title: str) -> Table:
    """WA and UA of each system, the baseline first: pooled with interval, over folds and seeds, published."""
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
    for row in (row for row in rows if 0 < len(row.folds) < row.planned_folds):
        few = f"{len(row.folds)} of {row.planned_folds} folds only"
        notes.append(f"{row.name}: {few}; its row is not comparable with the others.")
    return Table(name, title, columns, rows, rows, notes)


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

    group = f"{metric.upper()} %"
    columns = [
        Column(metric, "pooled", PERCENT, group, lambda row: getattr(row.pooled, metric, None)),
        Column(f"{metric}_interval", "95 % interval", INTERVAL, group, interval_of),
        Column(f"{metric}_folds", "folds", OVER_FOLDS, group, lambda row: row.spread.get(metric)),
        Column(f"{metric}_seeds", "seeds ±", OVER_SEEDS, group, lambda row: row.spread.get(metric)),
        Column(f"{metric}_published", "published", PERCENT, group, lambda row: _published(row).get(metric)),
    ]
    return columns if published else columns[:-1]


def gender_table(tested: Sequence[SystemRuns]) -> Table | None:
    """Accuracy of women and men; None if no utterance has a gender."""
    found = {gender for system in tested for gender in system.answers.gender.tolist()} - {""}
    titles = {gender: GENDERS.get(gender, gender) for gender in sorted(found)}
    return _group_table(tested, "gender", lambda answers: answers.gender, titles, []) if titles else None


def duration_table(tested: Sequence[SystemRuns]) -> Table | None:
    """Accuracy in thirds by duration; None if no utterance has one, or (nearly) all last equally long."""
    ids, seconds = (np.concatenate([getattr(system.answers, key) for system in tested]) for key in ("id", "seconds"))
    seconds = seconds[np.unique(ids, return_index=True)[1]]
    if not (seconds > 0).any():
        return None
    low, high = np.quantile(seconds[seconds > 0], [1 / 3, 2 / 3])
    titles = {"short": f"up to {low:.2f} s", "middle": f"{low:.2f} to {high:.2f} s", "long": f"over {high:.2f} s"}
    names = np.array([*titles, ""])

    def third(seconds: np.ndarray) -> np.ndarray:
        return names[np.where(seconds > 0, np.searchsorted([low, high], seconds), -1)]

    titles = {name: title for name, title in titles.items() if name in third(seconds)}
    notes = ["Thirds of all test utterances, except that those that last equally long stay together."]
    by_third = _group_table(tested, "duration", lambda answers: third(answers.seconds), titles, notes)
    return by_third if len(titles) > 1 else None


def _group_table(
    tested: Sequence[SystemRuns],
    noun: str,
    group: Callable[[Answers], np.ndarray],
    titles: Mapping[str, str],
    notes: Sequence[str],
) -> Table:
    """A row for each system, with n, WA and UA of each group."""
    found = {system.name: accuracies_of(system.confusions_by(group)) for system in tested}
    columns = [SYSTEM]
    for key, heading in titles.items():
        for figure, title in (("n", "n"), *((metric, f"{metric.upper()} %") for metric in METRICS)):
            value = lambda row, key=key, figure=figure: getattr(found[row.name].get(key), figure, None)  # noqa: E731
            columns.append(Column(f"{key}_{figure}", title, COUNT if figure == "n" else PERCENT_1, heading, value))
    notes = [*notes, "n: utterances. Groups also differ in their speakers and classes."]
    if any("" in groups for groups in found.values()):
        notes.append(f"Utterances without a {noun} are left out.")
    return Table(f"by_{noun}", f"Accuracy by {noun}", columns, tested, tested, notes)


def speaker_tables(tested: Sequence[SystemRuns]) -> list[Table]:
    """For each metric a table with one row per speaker and one column per system; empty if speakers have no names."""
    speakers = dict.fromkeys(name for system in tested for name in system.speakers)
    found = {system.name: accuracies_of(system.confusions) for system in tested}
    count = lambda speaker: max(a[speaker].n for a in found.values() if speaker in a)  # noqa: E731
    notes = ["n: utterances, from the system that has most. UA is over the classes that the speaker has."]
    tables = []
    for metric in METRICS if speakers else ():
        columns = [Column("speaker", "speaker", value=str), Column("n", "n", COUNT, value=count)]
        for name, accuracies in found.items():
            value = lambda speaker, a=accuracies, m=metric: getattr(a.get(speaker), m, None)  # noqa: E731
            columns.append(Column(f"{metric}_{name}", name, PERCENT_1, f"{metric.upper()} %", value))
        title = f"{metric.upper()} by speaker"
        tables.append(Table(f"by_speaker_{metric}", title, columns, speakers, tested, notes))
    return tables
