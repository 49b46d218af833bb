"""What an experiment shows, in sentences that claim no more than its tests do."""

from collections.abc import Sequence

from toolkit.errors import counted
from toolkit.report.evidence import Evidence
from toolkit.report.tables.differences import compared, families
from toolkit.statistics import MIN_SPEAKERS, Comparison

TITLES = {"ablation": "Ablation", "single_levels": "Single levels", "all_systems": "All systems"}


def summarise(evidence: Evidence, protocol: str) -> list[str]:
    """The size of the experiment, and the verdicts of each family of systems."""
    outcome = evidence.outcome
    done, planned, speakers = len(outcome.runs), len(outcome.plan.cells), len(evidence.speakers(protocol))
    counts = [
        counted(len(outcome.plan.systems), "system"),
        f"protocol {protocol}",
        *([counted(speakers, "test speaker")] if speakers else []),
        counted(len(outcome.plan.seeds), "seed"),
    ]
    sentences = [f"{', '.join(counts)}; {done} of {counted(planned, 'cell')} done."]
    if done < planned:
        sentences.append("The experiment is not complete: all figures below are of the cells that are done.")
    for name, systems in families(evidence).items():
        found = compared(evidence.all_of(systems, protocol))
        if not found:
            continue
        head = f"{TITLES[name]}, against {systems[0]}: "
        if all(c.verdict == "too few speakers" for c in found):
            sentences.append(f"{head}too few speakers to compare anything (below {MIN_SPEAKERS}).")
        else:
            sentences.append(head + "; ".join(_verdicts(evidence, found, protocol)) + ".")
    return sentences


def _verdicts(evidence: Evidence, comparisons: Sequence[Comparison], protocol: str) -> list[str]:
    """The systems that are better or worse, with the metrics, and the number of those without any difference."""
    texts, without = [], {c.system for c in comparisons}
    for verdict in ("better", "worse"):
        found: dict[str, list[str]] = {}
        for c in comparisons:
            if c.verdict == verdict:
                found.setdefault(c.system, []).append(c.metric.upper())
        without -= set(found)
        names = []
        for system, metrics in found.items():
            missing = "" if evidence.of(system, protocol).complete else ", cells missing"
            names.append(f"{system} ({' and '.join(metrics)}{missing})")
        texts += [f"{verdict}: {', '.join(names)}"] if names else []
    return [*texts, f"no difference shown for {counted(len(without), 'system')}"] if without else texts
