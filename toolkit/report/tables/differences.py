"""Differences between systems, protocols and uses of a covariate, paired by speaker: intervals, p and verdicts."""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from toolkit.corpus.protocols import PROTOCOLS
from toolkit.experiment.plan import NOT_THE_SYSTEMS
from toolkit.report.evidence import Evidence, SystemRuns
from toolkit.report.tables.table import COUNT, P_VALUE, PERCENT, POINTS, POINTS_INTERVAL, TEXT, Column, Table
from toolkit.statistics.comparison import ALPHA, MIN_SPEAKERS, Comparison, compare, corrected
from toolkit.statistics.metrics import METRICS

SOURCES = ("without", "label", "predicted", "shuffled")
NOT_OF_THE_SYSTEM = ("name", "published", *NOT_THE_SYSTEMS)
STEPS_NOTE = (
    "loso-test-epoch differs from loso only in that the epoch is chosen on the test speaker; in loso-as-published the "
    "test speaker also validates and its partner trains. A step is the difference that this change alone makes."
)


@dataclass(frozen=True)
class Difference:
    """A row: a system, what it is compared with (None: the first of a family), and the comparison in each metric."""

    tested: SystemRuns
    against: SystemRuns | None
    comparisons: Mapping[str, Comparison]  # empty where there was none

    @classmethod
    def of(cls, tested: SystemRuns, against: SystemRuns | None, found: Iterable[Comparison]) -> "Difference":
        """The row with those of the comparisons that compare the two."""
        names = tested.name, against and against.name
        return cls(tested, against, {c.metric: c for c in found if (c.system, c.baseline) == names})


def families(evidence: Evidence) -> dict[str, list[str]]:
    """The systems that are compared in one table: table name -> systems, the baseline first.

    Systems of one level are apart, unless the baseline, or every other system, has one level.
    """
    others = [system for system in evidence.plan.systems if system != evidence.baseline]
    levels = {system: len(recipe["model"]["levels"]) for system, recipe in evidence.recipes.items()}
    single = [system for system in others if levels[system] == 1]
    several = [system for system in others if levels[system] > 1]
    if levels[evidence.baseline] == 1 or not several:
        return {"all_systems": [evidence.baseline, *others]}
    found = {"ablation": several, "single_levels": single}
    return {name: [evidence.baseline, *systems] for name, systems in found.items() if systems}


def difference_table(tested: Sequence[SystemRuns], *, name: str, title: str) -> Table:
    """Each system's difference from the first one: interval, corrected p and verdict."""
    baseline, *others = tested
    found = compared(tested)
    columns = [Column("system", "system", value=lambda row: row.tested.name)]
    for metric in METRICS:
        columns += difference_columns(metric)
    common = lambda row: len({*row.tested.speakers} & {*baseline.speakers})  # noqa: E731
    columns.append(Column("speakers", "speakers", COUNT, value=common))
    rows = [Difference.of(system, baseline, found) for system in others]
    return Table(name, title, columns, rows, tested, comparison_notes(found))


def protocol_tables(evidence: Evidence) -> list[Table]:
    """Every system under every protocol, and its paired difference between each protocol and the next."""
    protocols = sorted(evidence.protocols, key=list(PROTOCOLS).index)  # the strictest first
    columns = [Column("system", "system", value=str)]
    for metric, protocol in itertools.product(METRICS, protocols):
        value = lambda name, m=metric, p=protocol: getattr(evidence.runs_of[name, p].pooled, m, None)  # noqa: E731
        columns.append(Column(f"{metric}_{protocol}", protocol, PERCENT, f"{metric.upper()} %", value))
    systems, notes = evidence.plan.systems, ["Pooled over all test utterances, the mean over seeds."]
    beside = Table("protocols", "Systems under each protocol", columns, systems, evidence.tested(), notes)
    return [beside, _step_table(evidence, protocols)]


def _step_table(evidence: Evidence, protocols: Sequence[str]) -> Table:
    columns = [
        Column("system", "system", value=lambda row: row.tested.name),
        Column("step", "step", value=lambda row: f"{row.against.protocol} → {row.tested.protocol}"),
    ]
    for metric in METRICS:
        columns += difference_columns(metric)[:2]  # without a test
    columns.append(Column("speakers", "speakers", COUNT, value=lambda row: row.comparisons[METRICS[0]].n_speakers))
    rows = []
    for system, (first, second) in itertools.product(evidence.plan.systems, itertools.pairwise(protocols)):
        before, after = evidence.runs_of[system, first], evidence.runs_of[system, second]
        speakers = _tested_alike(before, after)
        found = {t.protocol: {name: t.confusions[name] for name in speakers} for t in (before, after)}
        rows.append(Difference(after, before, {c.metric: c for c in compare(found)}))
    notes = ["Paired by speaker; each interval is for one step, not corrected for the number of steps."]
    notes += [STEPS_NOTE] if any(name.startswith("loso-") for name in evidence.protocols) else []
    return Table("protocol_steps", "The difference that each step makes", columns, rows, evidence.tested(), notes)


def _tested_alike(before: SystemRuns, after: SystemRuns) -> list[str]:
    """The speakers with the same test utterances under both protocols."""
    a, b = (
        {pair for run in t.runs for pair in zip(run.answers.speaker.tolist(), run.answers.id.tolist(), strict=True)}
        for t in (before, after)
    )
    different = {speaker for speaker, _ in a ^ b}
    return [name for name in before.confusions if name not in different]


def covariate_families(evidence: Evidence, covariate: str) -> list[dict[str, str]]:
    """Systems that differ in one covariate alone: system -> its source, in the order of `SOURCES`, for each family."""
    found: dict[str, dict[str, str]] = {}
    for system, recipe in evidence.recipes.items():
        others = dict(recipe["model"]["covariates"])
        source = others.pop(covariate, {}).get("source", SOURCES[0])
        rest = {key: value for key, value in recipe.items() if key not in NOT_OF_THE_SYSTEM}
        rest["model"] = {**recipe["model"], "covariates": others}
        found.setdefault(json.dumps(rest, sort_keys=True), {})[system] = source
    families = [family for family in found.values() if len(family) > 1]
    return [dict(sorted(family.items(), key=lambda item: SOURCES.index(item[1]))) for family in families]


def covariate_table(evidence: Evidence, covariate: str, protocol: str) -> Table | None:
    """All families of a covariate, each system compared with the first of its family; None without a family."""
    if not (families := covariate_families(evidence, covariate)):
        return None
    pairs: list[tuple[SystemRuns, SystemRuns | None]] = []
    for family in families:
        first, *others = systems = evidence.all_of(family, protocol)
        pairs += [(first, None), *((other, first) for other in others)]
        by_source = dict(zip(reversed(family.values()), reversed(systems), strict=True))
        if {"shuffled", "label"} <= by_source.keys() and by_source["label"] is not first:
            pairs.append((by_source["label"], by_source["shuffled"]))
    found = corrected([c for tested, against in pairs if against for c in compared([against, tested])])
    rows = [Difference.of(tested, against, found) for tested, against in pairs]
    source = {system: source for family in families for system, source in family.items()}
    columns = [
        Column("system", "system", value=lambda row: row.tested.name),
        Column("source", covariate, value=lambda row: source[row.tested.name]),
        Column("against", "against", value=lambda row: row.against and row.against.name),
    ]
    for metric in METRICS:
        pooled = lambda row, metric=metric: getattr(row.tested.pooled, metric, None)  # noqa: E731
        columns.append(Column(metric, "pooled", PERCENT, f"{metric.upper()} %", pooled))
        columns += difference_columns(metric)
    notes = [
        f"Label: the true {covariate} is given, in the test too. Predicted: predicted from the audio by a small head, "
        f"whose {covariate} loss also trains the level that it reads, so that a gain may come from this second task. "
        "Shuffled: drawn at random, the control. Label against shuffled tests the covariate itself; that one of them "
        "differs from the first system and the other does not is not a test.",
        *comparison_notes(found),
    ]
    title, tested = f"Systems that differ in {covariate} alone", [row.tested for row in rows]
    return Table(f"covariate_{covariate}", title, columns, rows, tested, notes)


def compared(tested: Sequence[SystemRuns]) -> list[Comparison]:
    """Compare every system that has runs with the first, over the folds that both have; empty if the first has none."""
    first, *others = tested
    found: list[Comparison] = []
    for other in (other for other in others if first.runs and other.runs):
        folds = first.folds & other.folds
        found += compare({t.name: t.confusions_in(folds) for t in (first, other)})
    return corrected(found)


def difference_columns(metric: str) -> list[Column]:
    """Columns of a metric: difference, interval, p and verdict; rows are `Difference`."""

    def read(name: str):
        return lambda row: getattr(row.comparisons.get(metric), name, None)

    def verdict(row: Difference) -> str | None:
        comparison = row.comparisons.get(metric)
        if comparison and comparison.n_speakers:
            return comparison.verdict
        return None if row.against is None else "not compared"

    group = f"{metric.upper()} %"
    return [
        Column(f"{metric}_difference", "points", POINTS, group, read("difference")),
        Column(f"{metric}_interval", "95 % interval", POINTS_INTERVAL, group, read("interval")),
        Column(f"{metric}_p", "p", P_VALUE, group, read("p_corrected")),
        Column(f"{metric}_verdict", "verdict", TEXT, group, verdict),
    ]


def comparison_notes(comparisons: Sequence[Comparison]) -> list[str]:
    """How to read differences."""
    tests = [c for c in comparisons if c.p is not None]
    notes = [
        "Paired by speaker. p: sign-flip test, after Holm's correction over this table. A system is called better or "
        f"worse only where p < {ALPHA} and the interval excludes 0. “No difference shown” does not mean that it is 0."
    ]
    if not all(c.named for c in comparisons):
        reason = "Unnamed speakers: where an utterance has no speaker, there is neither an interval nor a test"
        notes.append(f"{reason}. Name every speaker, or leave these utterances out.")
    if any(c.named and c.n_speakers < MIN_SPEAKERS for c in comparisons):
        notes.append(f"Too few speakers to tell: below {MIN_SPEAKERS}, there is neither an interval nor a test.")
    if few := [c.n_speakers for c in tests if (c.least_p or 0.0) >= ALPHA]:
        notes.append(
            f"Too few speakers to tell: with {max(few)} speakers and {len(tests)} comparisons no p can fall below "
            f"{ALPHA} after the correction, however large a difference is."
        )
    return notes
