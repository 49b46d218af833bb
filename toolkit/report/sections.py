"""The sections of a report, in order."""

from collections.abc import Iterator
from dataclasses import dataclass

from toolkit.report.choices import Choices
from toolkit.report.evidence import Evidence
from toolkit.report.figures.confusion import confusion_figure
from toolkit.report.figures.curves import curve_figure
from toolkit.report.figures.differences import difference_figure
from toolkit.report.figures.embedding import embedding_figure
from toolkit.report.figures.figure import Figure
from toolkit.report.figures.reliability import reliability_figure
from toolkit.report.provenance import facts
from toolkit.report.summary import TITLES
from toolkit.report.tables.accuracy import accuracy_table
from toolkit.report.tables.breakdowns import duration_table, gender_table, speaker_tables
from toolkit.report.tables.calibration import calibration_table
from toolkit.report.tables.covariates import covariate_table, covariates
from toolkit.report.tables.differences import difference_table, families
from toolkit.report.tables.hard_utterances import hard_utterance_table
from toolkit.report.tables.missing_cells import missing_table
from toolkit.report.tables.protocols import protocol_table, step_table
from toolkit.report.tables.systems import systems_table
from toolkit.report.tables.table import Table
from toolkit.statistics import METRICS

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
