"""What a report says: its summary, and its sections in order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from toolkit.errors import counted
from toolkit.report.choices import Choices
from toolkit.report.evidence import Evidence
from toolkit.report.figures.confusion import confusion_figure
from toolkit.report.figures.curves import curve_figure
from toolkit.report.figures.differences import difference_figure
from toolkit.report.figures.embedding import embedding_figure
from toolkit.report.figures.figure import Figure
from toolkit.report.figures.reliability import reliability_figure
from toolkit.report.provenance import facts, missing_table, systems_table
from toolkit.report.tables.accuracy import accuracy_table, calibration_table
from toolkit.report.tables.breakdowns import duration_table, gender_table, speaker_tables
from toolkit.report.tables.covariates import covariate_table, covariates
from toolkit.report.tables.differences import compared, difference_table, families
from toolkit.report.tables.hard_utterances import hard_utterance_table
from toolkit.report.tables.protocols import protocol_table, step_table
from toolkit.report.tables.table import Table
from toolkit.statistics import METRICS, MIN_SPEAKERS, Comparison

TITLES = {"ablation": "Ablation", "single_levels": "Single levels", "all_systems": "All systems"}
NONE_IS_HARD = "Every utterance that all systems were tested on was classified correctly at least once."
AUDIO_NOTE = (
    "The players read the audio files from this machine. The page itself holds no audio, since a corpus's licence "
    "rarely allows passing it on; on other machines the players stay silent."
)
STEPS_NOTE = (
    "loso-test-epoch differs from loso only in that the epoch is chosen on the test speaker; in loso-as-published the "
    "test speaker also validates and its partner trains. A step is the difference that this alone makes."
)


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Args:
        id: its anchor.
        title: its heading.
        items: tables and figures, in order; None is left out.
        texts: paragraphs before them.
        facts: pairs of a name and a text.
    """

    id: str
    title: str
    items: tuple[Table | Figure | None, ...] = ()
    texts: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "items", tuple(item for item in self.items if item is not None))

    @property
    def empty(self) -> bool:
        """Whether it shows nothing."""
        return not (self.items or self.texts or self.facts)


def summarise(evidence: Evidence, protocol: str) -> list[str]:
    """The size of the experiment and each family's verdicts, in sentences that claim no more than the tests show."""
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
        if all(c.verdict == "too few speakers" for c in found):
            verdicts = f"too few speakers to compare anything (below {MIN_SPEAKERS})"
        else:
            verdicts = "; ".join(_verdicts(evidence, found, protocol))
        sentences.append(f"{TITLES[name]}, against {systems[0]}: {verdicts}.")
    return sentences


def sections(evidence: Evidence, choices: Choices) -> list[Section]:
    """All sections that show something."""
    found = [Section("run", "What was run", (systems_table(evidence),), facts=tuple(facts(evidence)))]
    if evidence.tested(choices.protocol):
        found += [*_results(evidence, choices.protocol), *_details(evidence, choices)]
    else:
        text = f"No cell of protocol {choices.protocol} is done: there is nothing to show yet."
        found.append(Section("results", "Results", texts=(text,)))
    missing = missing_table(evidence)
    texts = () if missing else ("None: every planned cell is done.",)
    found.append(Section("missing", "Failed and missing cells", (missing,), texts))
    return [section for section in found if not section.empty]


def _results(evidence: Evidence, protocol: str) -> Iterator[Section]:
    for name, systems in families(evidence).items():
        title = TITLES[name]
        items = [accuracy_table(evidence, systems, protocol, name=name, title=f"{title}: accuracy under {protocol}")]
        if len(systems) > 1:
            against = f"{title}: difference to {systems[0]} under {protocol}"
            items += [
                difference_table(evidence, systems, protocol, name=f"{name}_differences", title=against),
                difference_figure(evidence.all_of(systems, protocol), name=f"{name}_differences"),
            ]
        yield Section(name.replace("_", "-"), title, tuple(items))
    protocols = evidence.outcome.plan.protocols
    if len(protocols) > 1:
        texts = (STEPS_NOTE,) if any(name.startswith("loso-") for name in protocols) else ()
        yield Section("protocols", "Protocols side by side", (protocol_table(evidence), step_table(evidence)), texts)
    for covariate in covariates(evidence):
        table = covariate_table(evidence, covariate, protocol)
        yield Section(f"covariate-{covariate}", f"Is the gain from {covariate} real?", (table,))


def _details(evidence: Evidence, choices: Choices) -> Iterator[Section]:
    protocol = choices.protocol
    yield Section("confusion", "Confusion", (confusion_figure(choices.pair),))
    yield Section("embeddings", "Embeddings", (embedding_figure(choices.pair, choices.embedded),))
    curves = (curve_figure(evidence, choices, metric) for metric in METRICS)
    yield Section("curves", "Accuracy against epoch", tuple(curves))
    tables = (gender_table(evidence, protocol), duration_table(evidence, protocol), *speaker_tables(evidence, protocol))
    yield Section("breakdowns", "By gender, duration and speaker", tables)
    items = (calibration_table(evidence, protocol), reliability_figure(choices.pair))
    yield Section("calibration", "Calibration", items)
    table = hard_utterance_table(evidence, protocol)
    texts = (AUDIO_NOTE,) if any(column.format.page_only for column in table.columns) else ()
    if not table.rows:
        table, texts = None, (NONE_IS_HARD,)
    yield Section("hard-utterances", "What all systems get wrong", (table,), texts)


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
