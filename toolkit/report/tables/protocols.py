"""Protocols side by side, and the difference between each and the next."""

import itertools

from toolkit.corpus.protocols import PROTOCOLS
from toolkit.errors import counted
from toolkit.report.evidence import Evidence, SystemRuns
from toolkit.report.tables.differences import SPEAKERS, Difference, difference_columns
from toolkit.report.tables.formats import PERCENT
from toolkit.report.tables.table import Column, Table, percent
from toolkit.statistics import METRICS, Comparison, compare


def protocol_table(evidence: Evidence) -> Table:
    """WA and UA of every system under every protocol."""

    def accuracy_column(metric: str, protocol: str) -> Column:
        value = lambda system: getattr(evidence.of(system, protocol).pooled, metric, None)  # noqa: E731
        return Column(f"{metric}_{protocol}", protocol, PERCENT, percent(metric), value)

    protocols, systems = _in_order(evidence), evidence.outcome.plan.systems
    columns = [Column("system", "system", value=str)]
    columns += [accuracy_column(metric, protocol) for metric in METRICS for protocol in protocols]
    missing = [
        f"{t.system} under {t.protocol} ({len(t.runs)} of {counted(t.planned, 'cell')})"
        for system in systems
        for t in (evidence.of(system, protocol) for protocol in protocols)
        if not t.complete
    ]
    notes = ["Pooled over all test utterances, the mean over seeds."]
    if missing:
        notes.append(f"Not complete: {'; '.join(missing)}.")
    return Table("protocols", "Systems under each protocol", columns, systems, evidence.stamps(), notes)


def step_table(evidence: Evidence) -> Table:
    """The paired difference between each protocol and the next, for every system."""
    steps = list(itertools.pairwise(_in_order(evidence)))
    columns = [
        Column("system", "system", value=lambda row: row.tested.system),
        Column("step", "step", value=lambda row: f"{row.against.protocol} → {row.tested.protocol}"),
    ]
    for metric in METRICS:
        columns += difference_columns(metric, f"{metric.upper()}, points", test=False)
    columns.append(SPEAKERS)
    pairs = [
        (evidence.of(system, before), evidence.of(system, after))
        for system in evidence.outcome.plan.systems
        for before, after in steps
    ]
    rows = [Difference(after, before, _step(before, after)) for before, after in pairs]
    notes = ["Paired by speaker; intervals are for one step each, not corrected for their number."]
    return Table("protocol_steps", "The difference that each step makes", columns, rows, evidence.stamps(), notes)


def _in_order(evidence: Evidence) -> list[str]:
    """The protocols from the strictest to those that only serve comparison with the literature."""
    return sorted(evidence.outcome.plan.protocols, key=list(PROTOCOLS).index)


def _step(before: SystemRuns, after: SystemRuns) -> dict[str, Comparison]:
    found = {tested.protocol: tested.confusions for tested in (before, after)}
    if not all(found.values()) or any("" in confusions.speakers for confusions in found.values()):
        return {}
    return {comparison.metric: comparison for comparison in compare(found, baseline=before.protocol)}
