"""What a report shows: its choices, its summary, and its sections in order."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from toolkit.errors import ExperimentError, counted, join
from toolkit.report.evidence import Evidence, SystemRuns, check_known
from toolkit.report.figures.figure import Figure
from toolkit.report.figures.pair import confusion_figure, embedding_figure, reliability_figure
from toolkit.report.figures.systems import curve_figure, difference_figure
from toolkit.report.provenance import facts, missing_table, systems_table
from toolkit.report.tables import differences
from toolkit.report.tables.accuracy import accuracy_table, duration_table, gender_table, speaker_tables
from toolkit.report.tables.confidence import abstention_table, calibration_table
from toolkit.report.tables.differences import compared, families
from toolkit.report.tables.hard_utterances import hard_utterance_table
from toolkit.report.tables.table import Table
from toolkit.statistics.comparison import Comparison
from toolkit.statistics.metrics import METRICS

TITLES = {"ablation": "Ablation", "single_levels": "Single levels", "all_systems": "All systems"}
CURVES = 3  # test folds whose curves are drawn by default
STEPS_NOTE = (
    "loso-test-epoch differs from loso only in that the epoch is chosen on the test speaker; in loso-as-published the "
    "test speaker also validates and its partner trains. A step is the difference that this change alone makes."
)


@dataclass(frozen=True)
class Choices:
    """What a report shows where there is a choice; never chosen by a test result."""

    protocol: str
    pair: tuple[SystemRuns, ...]  # only one if no other has runs
    embedded: tuple[str, int] | None  # fold and seed; None if the pair has none in common
    curves: tuple[str, ...]  # test folds


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    id: str
    title: str
    items: tuple[Table | Figure | None, ...] = ()  # in order; None is left out
    texts: tuple[str, ...] = ()  # paragraphs before them
    facts: tuple[tuple[str, str], ...] = ()  # names and texts

    def __post_init__(self):
        object.__setattr__(self, "items", tuple(item for item in self.items if item is not None))


def choose(
    evidence: Evidence,
    *,
    protocol: str | None = None,
    pair: Sequence[str] = (),
    tsne_fold: str | None = None,
    speakers: Sequence[str] = (),
) -> Choices:
    """Check the options; by default the first protocol, the baseline and the largest system, the first folds.

    Raises: ExperimentError if an option names something that the experiment does not have.
    """
    protocol = protocol or evidence.protocols[0]
    check_known("--protocol", "protocol", [protocol], evidence.protocols)
    folds = evidence.plan.folds[protocol]
    if len(pair) not in (0, 2):
        example = ",".join([*evidence.plan.systems][:2])
        raise ExperimentError(f"--pair takes two systems, for example {example}; found {len(pair)}.")
    check_known("--pair", "system", pair, evidence.plan.systems)
    check_known("--tsne-fold", "fold", [tsne_fold] if tsne_fold else (), folds)
    check_known("--speakers", "test fold", speakers, folds)
    chosen = tuple(evidence.all_of(dict.fromkeys(pair), protocol)) if pair else _default_pair(evidence, protocol)
    for tested in chosen:
        if not tested.runs:
            raise ExperimentError(f"--pair: {tested.name!r} has no finished run under {protocol}.")
    done_cells = [{(run.cell.fold, run.cell.seed) for run in tested.runs} for tested in chosen]
    cells = product([tsne_fold] if tsne_fold else folds, evidence.plan.seeds)
    embedded = next((cell for cell in cells if chosen and all(cell in done for done in done_cells)), None)
    if tsne_fold and embedded is None:
        names = join(tested.name for tested in chosen)
        raise ExperimentError(f"--tsne-fold: no seed has finished runs of {names} on {tsne_fold!r}.")
    return Choices(protocol, chosen, embedded, tuple(speakers or folds[:CURVES]))


def summarise(evidence: Evidence, protocol: str) -> list[str]:
    """The size of the experiment and each family's verdicts, in sentences that claim no more than the tests show."""
    done, planned, speakers = len(evidence.runs), len(evidence.cells), len(evidence.speakers(protocol))
    of_speakers = f"{counted(speakers, 'test speaker')}, " if speakers else ""
    sentences = [
        f"{counted(len(evidence.plan.systems), 'system')}, protocol {protocol}, {of_speakers}"
        f"{counted(len(evidence.plan.seeds), 'seed')}; {done} of {counted(planned, 'cell')} done."
    ]
    if done < planned:
        sentences.append("The experiment is not complete: all figures below cover only the cells that are done.")
    for name, systems in families(evidence).items():
        if found := compared(evidence.all_of(systems, protocol)):
            sentences.append(f"{TITLES[name]}, against {systems[0]}: {_verdicts(found)}.")
    return sentences


def sections(evidence: Evidence, choices: Choices) -> list[Section]:
    """The sections in order, without empty ones."""
    found = [Section("run", "What was run", (systems_table(evidence),), facts=tuple(facts(evidence)))]
    if evidence.tested(choices.protocol):
        found += [*_results(evidence, choices.protocol), *_details(evidence, choices)]
    else:
        text = f"No cell of protocol {choices.protocol} is done: there is nothing to show yet."
        found.append(Section("results", "Results", texts=(text,)))
    missing = missing_table(evidence)
    texts = () if missing else ("None: every planned cell is done.",)
    found.append(Section("missing", "Failed and missing cells", (missing,), texts))
    return [section for section in found if section.items or section.texts or section.facts]


def _results(evidence: Evidence, protocol: str) -> Iterator[Section]:
    for name, systems in families(evidence).items():
        title, tested = TITLES[name], evidence.all_of(systems, protocol)
        items = [accuracy_table(tested, name=name, title=f"{title}: accuracy under {protocol}")]
        if len(systems) > 1:
            against = f"{title}: difference from {systems[0]} under {protocol}"
            items.append(differences.difference_table(tested, name=f"{name}_differences", title=against))
            items.append(difference_figure(tested, name=f"{name}_differences"))
        yield Section(name.replace("_", "-"), title, tuple(items))
    if len(evidence.protocols) > 1:
        texts = (STEPS_NOTE,) if any(name.startswith("loso-") for name in evidence.protocols) else ()
        tables = (differences.protocol_table(evidence), differences.step_table(evidence))
        yield Section("protocols", "Protocols side by side", tables, texts)
    for covariate in differences.covariates(evidence):
        table = differences.covariate_table(evidence, covariate, protocol)
        yield Section(f"covariate-{covariate}", f"Is the gain from {covariate} real?", (table,))


def _details(evidence: Evidence, choices: Choices) -> Iterator[Section]:
    protocol, tested = choices.protocol, evidence.tested(choices.protocol)
    yield Section("confusion", "Confusion", (confusion_figure(choices.pair),))
    yield Section("embeddings", "Embeddings", (embedding_figure(choices.pair, choices.embedded),))
    curves = (curve_figure(evidence, protocol, choices.curves, metric) for metric in METRICS)
    yield Section("curves", "Accuracy against epoch", tuple(curves))
    tables = (gender_table(tested), duration_table(tested), *speaker_tables(evidence, protocol))
    yield Section("breakdowns", "By gender, duration and speaker", tables)
    items = (calibration_table(tested), reliability_figure(choices.pair), abstention_table(tested))
    yield Section("calibration", "Calibration", items)
    yield Section("hard-utterances", "What all systems get wrong", (hard_utterance_table(evidence, protocol),))


def _verdicts(comparisons: Sequence[Comparison]) -> str:
    """What is better or worse in which metric, and how many of the other comparisons have which verdict."""
    found = defaultdict(list)
    for c in comparisons:
        found[c.verdict].append(f"{c.system} in {c.metric.upper()}")
    texts = [f"{verdict}: {', '.join(found.pop(verdict))}" for verdict in ("better", "worse") if verdict in found]
    texts += [f"{verdict} in {counted(len(those), 'comparison')}" for verdict, those in found.items()]
    return "; ".join(texts)


def _default_pair(evidence: Evidence, protocol: str) -> tuple[SystemRuns, ...]:
    """The baseline, or else the first system with runs; and the largest of the others."""
    there = sorted(evidence.tested(protocol), key=lambda tested: tested.name != evidence.baseline)
    largest = max(there[1:], key=lambda tested: tested.runs[0].results["parameters"], default=None)
    return tuple(there[:1]) if largest is None else (there[0], largest)
