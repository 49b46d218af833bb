"""Accuracy of systems, and their difference to the baseline: of several levels, of one level. Imports no torch."""

from collections.abc import Sequence
from typing import Any

from toolkit.report.evidence import Evidence
from toolkit.report.tables.formats import (
    COUNT,
    DONE,
    INTERVAL,
    MARKED,
    OVER_FOLDS,
    OVER_SEEDS,
    P_VALUE,
    PERCENT,
    POINTS,
    POINTS_INTERVAL,
    TEXT,
    Marked,
)
from toolkit.report.tables.table import Column, Table
from toolkit.statistics import (
    ALPHA,
    METRICS,
    MIN_SPEAKERS,
    Comparison,
    compare,
    interval,
    pooled_accuracies,
)

INCOMPLETE = "†"
GROUPS = {"wa": "WA %", "ua": "UA %"}


def families(evidence: Evidence) -> dict[str, list[str]]:
    """Which systems are compared in one table: its name -> systems, the baseline first.

    "ablation" holds systems of several levels, "single_levels" the others beside the baseline; where the baseline has
    one level, "all_systems" holds all.
    """
    outcome = evidence.outcome
    others = [system for system in outcome.systems if system != outcome.baseline]
    if evidence.levels(outcome.baseline) == 1:
        return {"all_systems": [outcome.baseline, *others]}
    several = [system for system in others if evidence.levels(system) > 1]
    single = [system for system in others if evidence.levels(system) == 1]
    found = {"ablation": [outcome.baseline, *several]}
    return {**found, "single_levels": [outcome.baseline, *single]} if single else found


def accuracy_table(evidence: Evidence, systems: Sequence[str], protocol: str, *, name: str, title: str) -> Table:
    """WA and UA of each system: pooled with interval, mean over folds, deviation over seeds, and what was published.

    Args:
        evidence: the experiment's.
        systems: its rows.
        protocol: the one whose runs count.
        name: of the table's files.
        title: of the table.
    """
    published = {system: _published(evidence, system, protocol) for system in systems}
    columns = [Column("system", "system", MARKED)]
    for metric, group in GROUPS.items():
        columns += [
            Column(metric, "pooled", PERCENT, group),
            Column(f"{metric}_interval", "95 % interval", INTERVAL, group),
            Column(metric + "_folds", "folds", OVER_FOLDS, group),
            Column(metric + "_seeds", "seeds ±", OVER_SEEDS, group),
        ]
        if any(figures.get(metric) is not None for figures in published.values()):
            columns.append(Column(f"{metric}_published", "published", PERCENT, group))
    columns += [Column("speakers", "speakers", COUNT), Column("cells", "cells", DONE)]
    rows = [_accuracy_row(evidence, system, protocol, published[system]) for system in systems]
    notes = [
        "Pooled: all test utterances together, the mean over seeds. Folds: mean over folds ± standard deviation over "
        "folds. Seeds ±: standard deviation over seeds."
    ]
    if len(systems) > 1:
        notes[0] += f" {systems[0]} is the baseline."
    sources = dict.fromkeys(figures["source"] for figures in published.values() if figures)
    if sources:
        notes.append(f"Published: {'; '.join(sources)}; their protocol may differ from ours.")
    return Table(name, title, columns, rows, evidence.stamps(systems, [protocol]), [*notes, *incomplete_note(rows)])


def difference_table(evidence: Evidence, systems: Sequence[str], protocol: str, *, name: str, title: str) -> Table:
    """Each system's difference to the first one: interval, corrected p and verdict. Args as for `accuracy_table`."""
    baseline, *others = systems
    found = compared(evidence, systems, protocol)
    columns = [Column("system", "system", MARKED)]
    for metric in METRICS:
        group = GROUPS[metric].replace(" %", ", points")
        columns += [
            Column(f"{metric}_difference", "difference", POINTS, group),
            Column(f"{metric}_interval", "95 % interval", POINTS_INTERVAL, group),
            Column(f"{metric}_p", "p", P_VALUE, group),
            Column(f"{metric}_verdict", "verdict", TEXT, group),
        ]
    columns.append(Column("speakers", "speakers", COUNT))
    rows = []
    for system in others:
        of_system = {c.metric: c for c in found if c.system == system}
        row: dict[str, Any] = {"system": _marked(evidence, system, protocol)}
        for metric in METRICS:
            row |= comparison_cells(of_system.get(metric), metric)
        row["speakers"] = common_speakers(evidence, [baseline, system], protocol)
        rows.append(row)
    notes = [*comparison_notes(found), *incomplete_note(rows)]
    if not evidence.complete(baseline, protocol):
        notes.append(f"Not all cells of {baseline}, the baseline, are done.")
    return Table(name, title, columns, rows, evidence.stamps(systems, [protocol]), notes)


def compared(evidence: Evidence, systems: Sequence[str], protocol: str) -> list[Comparison]:
    """Every system that has runs against the first one, over common speakers; nothing where the first one has none."""
    found = {system: evidence.confusions(system, protocol) for system in systems}
    if any("" in confusions.speakers for confusions in found.values() if confusions):
        # Nameless speakers cannot be told apart: only folds that all systems have hold the same of them.
        tested = [system for system in systems if found[system]]
        folds = set.intersection(*({run.fold for run in evidence.outcome.of(s, protocol)} for s in tested))
        found = {system: evidence.confusions(system, protocol, folds=folds) for system in tested}
    found = {system: confusions for system, confusions in found.items() if confusions}
    return compare(found, baseline=systems[0]) if systems[0] in found else []


def common_speakers(evidence: Evidence, systems: Sequence[str], *protocols: str) -> int:
    """How many speakers with a name all these systems were tested on, under all these protocols."""
    found = [evidence.confusions(system, protocol) for system in systems for protocol in protocols]
    return len(set.intersection(*(set(confusions.speakers) if confusions else set() for confusions in found)) - {""})


def comparison_cells(comparison: Comparison | None, metric: str) -> dict[str, Any]:
    """What a table's row says of a comparison in a metric; None where there was none."""
    return {
        f"{metric}_difference": comparison and comparison.difference,
        f"{metric}_interval": comparison and comparison.interval,
        f"{metric}_p": comparison and comparison.p_corrected,
        f"{metric}_verdict": comparison.verdict if comparison and comparison.n_speakers else "not compared",
    }


def comparison_notes(comparisons: Sequence[Comparison]) -> list[str]:
    """What has to be said below differences."""
    tests = [c for c in comparisons if c.p is not None]
    notes = [
        "Paired by speaker. p: sign-flip test, after Holm's correction over this table. A system is called better or "
        f"worse only where p < {ALPHA} and the interval leaves out 0. “No difference shown” does not say it is 0."
    ]
    if any(c.n_speakers < MIN_SPEAKERS for c in comparisons):
        notes.append(f"Too few speakers: below {MIN_SPEAKERS}, there is neither an interval nor a test.")
    if tests and len(tests) * 2 / 2 ** max(c.n_speakers for c in tests) >= ALPHA:
        notes.append(
            f"With {max(c.n_speakers for c in tests)} speakers and {len(tests)} comparisons no p can fall below "
            f"{ALPHA} after the correction, however large a difference is."
        )
    return notes


def incomplete_note(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What the mark of a system with missing cells means, where a row has it."""
    if not any(isinstance(row["system"], Marked) and row["system"].mark for row in rows):
        return []
    return [f"{INCOMPLETE} Not all cells are done: accuracies of what is there, differences over common speakers."]


def _marked(evidence: Evidence, system: str, protocol: str) -> Marked:
    return Marked(system, "" if evidence.complete(system, protocol) else INCOMPLETE)


def _accuracy_row(evidence: Evidence, system: str, protocol: str, published: dict[str, Any]) -> dict[str, Any]:
    confusions, spread = evidence.confusions(system, protocol), evidence.spread(system, protocol)
    done, planned = evidence.cells(system, protocol)
    row: dict[str, Any] = {
        "system": _marked(evidence, system, protocol),
        "speakers": common_speakers(evidence, [system], protocol),
        "cells": (done, planned),
    }
    pooled = pooled_accuracies(confusions.counts) if confusions else None
    for metric in METRICS:
        row[metric] = getattr(pooled, metric, None)
        row[f"{metric}_interval"] = interval(confusions.counts, metric) if confusions else None
        row[f"{metric}_folds"] = row[f"{metric}_seeds"] = spread and spread[metric]
        row[f"{metric}_published"] = published.get(metric)
    return row


def _published(evidence: Evidence, system: str, protocol: str) -> dict[str, Any]:
    """What was published for a system on the corpus that its runs used, as fractions of 1; {} where nothing was."""
    figures = evidence.recipes[system].get("published") or {}
    runs = evidence.outcome.of(system, protocol)
    if not runs or any(run.results["synthetic"] or run.results["corpus"] != figures.get("corpus") for run in runs):
        return {}
    found = {metric: figures[metric] / 100 for metric in METRICS if figures.get(metric) is not None}
    return {**found, "source": figures["source"]} if found else {}
