"""The sections of a report, in order. Imports no torch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from toolkit.errors import counted
from toolkit.report.choices import Choices
from toolkit.report.drawings import (
    Drawing,
    confusion_drawing,
    curve_drawing,
    difference_drawing,
    embedding_drawing,
    reliability_drawing,
)
from toolkit.report.evidence import Evidence
from toolkit.report.provenance import facts, missing_table, systems_table
from toolkit.report.tables.accuracy import accuracy_table, compared, difference_table, families
from toolkit.report.tables.breakdowns import duration_table, gender_table, speaker_tables
from toolkit.report.tables.calibration import calibration_table
from toolkit.report.tables.covariates import covariate_table, covariates
from toolkit.report.tables.hard_utterances import hard_utterance_table
from toolkit.report.tables.protocols import protocol_table, step_table
from toolkit.report.tables.table import Table
from toolkit.statistics import MIN_SPEAKERS, Comparison

TITLES = {"ablation": "Ablation", "single_levels": "Single levels", "all_systems": "All systems"}
NONE_IS_HARD = "Of the utterances that every system was tested on, each was right at least once."
AUDIO_NOTE = (
    "Players read the audio where it lies on this machine. The page itself holds none, as a corpus's licence rarely "
    "allows to pass it on; elsewhere the players stay silent."
)


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Args:
        id: its anchor.
        title: its head.
        texts: paragraphs before its tables and figures.
        items: tables and figures, in order.
        facts: pairs of a name and a text.
    """

    id: str
    title: str
    texts: tuple[str, ...] = ()
    items: tuple[Table | Drawing, ...] = ()
    facts: tuple[tuple[str, str], ...] = field(default=())


def sections(evidence: Evidence, choices: Choices) -> list[Section]:
    """All that there is something to say in."""
    makers: list[Callable[[Evidence, Choices], Iterator[Section]]] = [_run, _results, _more, _utterances, _missing]
    return [section for make in makers for section in make(evidence, choices)]


def in_short(evidence: Evidence, choices: Choices) -> list[str]:
    """What the experiment shows, in sentences that claim no more than its tests do."""
    outcome, protocol = evidence.outcome, choices.protocol
    done, planned = len(outcome.runs), len(outcome.planned)
    speakers = len(evidence.named_speakers(protocol))
    counts = [
        counted(len(outcome.systems), "system"),
        f"protocol {protocol}",
        *([counted(speakers, "test speaker")] if speakers else []),
        counted(len(outcome.seeds), "seed"),
    ]
    said = [f"{', '.join(counts)}; {done} of {counted(planned, 'cell')} done."]
    if done < planned:
        said.append("The experiment is not complete: everything below is of the cells that are done.")
    for name, systems in families(evidence).items():
        found = compared(evidence, systems, protocol)
        if not found:
            continue
        head = f"{TITLES[name]}, against {systems[0]}: "
        if all(c.verdict == "too few speakers" for c in found):
            said.append(f"{head}too few speakers to compare anything (below {MIN_SPEAKERS}).")
            continue
        said.append(head + "; ".join(_verdicts(evidence, found, protocol)) + ".")
    return said


def _verdicts(evidence: Evidence, comparisons: Sequence[Comparison], protocol: str) -> list[str]:
    """Who is better or worse in what, and how many differ in nothing."""
    texts, quiet = [], {c.system for c in comparisons}
    for verdict in ("better", "worse"):
        found: dict[str, list[str]] = {}
        for c in comparisons:
            if c.verdict == verdict:
                found.setdefault(c.system, []).append(c.metric.upper())
        quiet -= set(found)
        names = [
            f"{system} ({' and '.join(metrics)}{'' if evidence.complete(system, protocol) else ', cells missing'})"
            for system, metrics in found.items()
        ]
        texts += [f"{verdict}: {', '.join(names)}"] if names else []
    return [*texts, f"no difference shown for {counted(len(quiet), 'system')}"] if quiet else texts


def _run(evidence: Evidence, choices: Choices) -> Iterator[Section]:
    yield Section("run", "What was run", items=(systems_table(evidence),), facts=tuple(facts(evidence)))


def _results(evidence: Evidence, choices: Choices) -> Iterator[Section]:
    protocol = choices.protocol
    if not evidence.tested(protocol):
        yield Section("results", "Results", (f"No cell of protocol {protocol} is done: there is nothing to show yet.",))
        return
    for name, systems in families(evidence).items():
        items: list[Table | Drawing | None] = [
            accuracy_table(evidence, systems, protocol, name=name, title=f"{TITLES[name]}: accuracy under {protocol}")
        ]
        if len(systems) > 1:
            title = f"{TITLES[name]}: difference to {systems[0]} under {protocol}"
            items += [
                difference_table(evidence, systems, protocol, name=f"{name}_differences", title=title),
                difference_drawing(evidence, systems, protocol, name=name),
            ]
        yield Section(name.replace("_", "-"), TITLES[name], items=_there(items))
    if len(evidence.outcome.protocols) > 1:
        yield Section(
            "protocols",
            "Protocols side by side",
            (
                "loso-test-epoch differs from loso in one thing, the epoch is chosen on the test speaker; in "
                "loso-as-published the test speaker also validates and its partner trains. A step is what that alone "
                "is worth.",
            )
            if any(name.startswith("loso-") for name in evidence.outcome.protocols)
            else (),
            (protocol_table(evidence), step_table(evidence)),
        )
    for covariate in covariates(evidence):
        table = covariate_table(evidence, covariate, protocol)
        if table:
            yield Section(f"covariate-{covariate}", f"Is the gain from {covariate} real?", items=(table,))


def _more(evidence: Evidence, choices: Choices) -> Iterator[Section]:
    protocol = choices.protocol
    if not evidence.tested(protocol):
        return
    yield Section("confusion", "Confusion", items=(confusion_drawing(evidence, choices),))
    drawing = embedding_drawing(evidence, choices)
    if drawing:
        yield Section("embeddings", "Embeddings", items=(drawing,))
    curves = _there([curve_drawing(evidence, choices, metric) for metric in ("wa", "ua")])
    if curves:
        yield Section("curves", "Accuracy against epoch", items=curves)
    tables = _there(
        [gender_table(evidence, protocol), duration_table(evidence, protocol), *speaker_tables(evidence, protocol)]
    )
    if tables:
        yield Section("breakdowns", "By gender, duration and speaker", items=tables)
    items = (calibration_table(evidence, protocol), reliability_drawing(evidence, choices))
    yield Section("calibration", "Calibration", items=items)


def _utterances(evidence: Evidence, choices: Choices) -> Iterator[Section]:
    if evidence.tested(choices.protocol):
        table = hard_utterance_table(evidence, choices.protocol)
        texts = (AUDIO_NOTE,) if any(column.format.page_only for column in table.columns) else ()
        if not table.rows:
            texts = (NONE_IS_HARD,)
        yield Section("hard-utterances", "What all systems get wrong", texts, (table,) if table.rows else ())


def _missing(evidence: Evidence, choices: Choices) -> Iterator[Section]:
    table = missing_table(evidence)
    if table:
        yield Section("missing", "Failed and missing cells", items=(table,))
    else:
        yield Section("missing", "Failed and missing cells", ("None: every planned cell is done.",))


def _there(items: list) -> tuple:
    return tuple(item for item in items if item is not None)
