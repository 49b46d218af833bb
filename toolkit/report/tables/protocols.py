"""Protocols side by side, and what each step from one to the next is worth. Imports no torch."""

import itertools
from collections.abc import Sequence
from typing import Any

from toolkit.corpus.protocols import PROTOCOLS
from toolkit.errors import counted
from toolkit.report.evidence import Evidence
from toolkit.report.tables.accuracy import GROUPS, common_speakers
from toolkit.report.tables.formats import COUNT, PERCENT, POINTS, POINTS_INTERVAL, TEXT
from toolkit.report.tables.table import Column, Table
from toolkit.statistics import METRICS, Comparison, compare, pooled_accuracies


def protocol_table(evidence: Evidence) -> Table:
    """WA and UA of every system under every protocol."""
    protocols = in_order(evidence.outcome.protocols)
    columns = [Column("system", "system", TEXT)]
    columns += [
        Column(f"{metric}_{protocol}", protocol, PERCENT, GROUPS[metric])
        for metric in METRICS
        for protocol in protocols
    ]
    rows, missing = [], []
    for system in evidence.outcome.systems:
        row: dict[str, Any] = {"system": system}
        for protocol in protocols:
            confusions = evidence.confusions(system, protocol)
            pooled = pooled_accuracies(confusions.counts) if confusions else None
            row |= {f"{metric}_{protocol}": getattr(pooled, metric, None) for metric in METRICS}
            done, planned = evidence.cells(system, protocol)
            if done < planned:
                missing.append(f"{system} under {protocol} ({done} of {counted(planned, 'cell')})")
        rows.append(row)
    notes = ["Pooled over all test utterances, the mean over seeds."]
    if missing:
        notes.append(f"Not complete: {'; '.join(missing)}.")
    return Table("protocols", "Systems under each protocol", columns, rows, evidence.stamps(), notes)


def step_table(evidence: Evidence) -> Table:
    """The paired difference between each protocol and the next, for every system."""
    steps = list(itertools.pairwise(in_order(evidence.outcome.protocols)))
    columns = [Column("system", "system", TEXT), Column("step", "step", TEXT)]
    for metric in METRICS:
        group = GROUPS[metric].replace(" %", ", points")
        columns += [
            Column(f"{metric}_difference", "difference", POINTS, group),
            Column(f"{metric}_interval", "95 % interval", POINTS_INTERVAL, group),
        ]
    columns.append(Column("speakers", "speakers", COUNT))
    rows = []
    for system in evidence.outcome.systems:
        for before, after in steps:
            found = {c.metric: c for c in _step(evidence, system, before, after)}
            row: dict[str, Any] = {"system": system, "step": f"{before} → {after}"}
            for metric in METRICS:
                row[f"{metric}_difference"] = found[metric].difference if found else None
                row[f"{metric}_interval"] = found[metric].interval if found else None
            row["speakers"] = common_speakers(evidence, [system], before, after)
            rows.append(row)
    notes = ["Paired by speaker; intervals are for one step each, not corrected for their number."]
    return Table("protocol_steps", "What each step is worth", columns, rows, evidence.stamps(), notes)


def in_order(protocols: Sequence[str]) -> list[str]:
    """Protocols from the strictest to what is only asked for to compare with literature."""
    known = list(PROTOCOLS)
    return sorted(protocols, key=lambda name: known.index(name) if name in known else len(known))


def _step(evidence: Evidence, system: str, before: str, after: str) -> list[Comparison]:
    found = {protocol: evidence.confusions(system, protocol) for protocol in (before, after)}
    if not all(found.values()) or any("" in confusions.speakers for confusions in found.values()):
        return []
    return compare(found, baseline=before)
