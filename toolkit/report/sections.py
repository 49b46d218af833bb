"""What a report shows: its choices, its summary, and its sections in order."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from toolkit.errors import ExperimentError, counted, did_you_mean, join
from toolkit.report.evidence import Evidence, SystemRuns
from toolkit.report.figures.figure import Figure
from toolkit.report.figures.pair import confusion_figure, embedding_figure, reliability_figure
from toolkit.report.figures.systems import curve_figure, difference_figure
from toolkit.report.provenance import facts, missing_table, systems_table
from toolkit.report.tables import differences
from toolkit.report.tables.accuracy import accuracy_table
from toolkit.report.tables.breakdowns import duration_table, gender_table, speaker_tables
from toolkit.report.tables.confidence import abstention_table, calibration_table
from toolkit.report.tables.differences import compared, families
from toolkit.report.tables.hard_utterances import hard_utterance_table
from toolkit.report.tables.table import Table
from toolkit.statistics.comparison import TOO_FEW, UNNAMED, Comparison
from toolkit.statistics.metrics import METRICS

TITLES = {"ablation": "Ablation", "single_levels": "Single levels", "all_systems": "All systems"}
CURVES = 3  # test folds whose curves are drawn by default
NONE_IS_HARD = "Every utterance that all systems were tested on was classified correctly at least once."
AUDIO_NOTE = (
    "The players read the audio files from this machine. The page itself holds no audio, since a corpus's licence "
    "rarely allows passing it on; on other machines the players stay silent."
)
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
    """Check the options; by default the first protocol, the baseline and the system with most parts, the first folds.

    Raises: ExperimentError if an option names something that the experiment does not have.
    """
    protocol = protocol or evidence.protocols[0]
    _check_known("--protocol", "protocol", [protocol], evidence.protocols)
    folds = evidence.plan.folds[protocol]
    if len(pair) not in (0, 2):
        example = ",".join([*evidence.plan.systems][:2])
        raise ExperimentError(f"--pair takes two systems, for example {example}; found {len(pair)}.")
    _check_known("--pair", "system", pair, evidence.plan.systems)
    _check_known("--tsne-fold", "fold", [tsne_fold] if tsne_fold else (), folds)
    _check_known("--speakers", "test fold", speakers, folds)
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
            verdicts = "; ".join(_verdicts(evidence, found, protocol))
            sentences.append(f"{TITLES[name]}, against {systems[0]}: {verdicts}.")
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
    table = hard_utterance_table(evidence, protocol)
    texts = (AUDIO_NOTE,) if any(column.format.page_only for column in table.columns) else ()
    if not table.rows:
        table, texts = None, (NONE_IS_HARD,)
    yield Section("hard-utterances", "What all systems get wrong", (table,), texts)


def _verdicts(evidence: Evidence, comparisons: Sequence[Comparison], protocol: str) -> list[str]:
    """The systems that are better or worse, with the metrics, and the number of those without any difference."""
    found: dict[str, dict[str, list[str]]] = defaultdict(dict)  # verdict -> system -> metrics
    for c in comparisons:
        found[c.verdict].setdefault(c.system, []).append(c.metric.upper())
    texts, without = [], {c.system for c in comparisons} - found["better"].keys() - found["worse"].keys()
    for verdict in ("better", "worse"):
        missing = {s: "" if evidence.runs_of(s, protocol).complete else ", cells missing" for s in found[verdict]}
        names = ", ".join(f"{s} ({' and '.join(metrics)}{missing[s]})" for s, metrics in found[verdict].items())
        texts += [f"{verdict}: {names}"] if names else []
    unnamed, few = (without & found[verdict].keys() for verdict in (UNNAMED, TOO_FEW))
    for verdict, systems in (("no difference shown", without - few - unnamed), (TOO_FEW, few), (UNNAMED, unnamed)):
        texts += [f"{verdict} for {counted(len(systems), 'system')}"] if systems else []
    return texts


def _default_pair(evidence: Evidence, protocol: str) -> tuple[SystemRuns, ...]:
    """The baseline, or else the first system with runs; and of the others, the last one with the most parts."""

    def parts(tested: SystemRuns) -> int:
        return sum(len(tested.recipe["model"][kind]) for kind in ("levels", "covariates", "heads", "losses"))

    there = sorted(evidence.tested(protocol), key=lambda tested: tested.name != evidence.baseline)
    return (there[0], max(reversed(there[1:]), key=parts)) if len(there) > 1 else tuple(there)


def _check_known(option: str, noun: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in (name for name in names if name not in known):
        near = did_you_mean(name, known)
        raise ExperimentError(f"{option}: this experiment has no {noun} {name!r}.{near} It has {', '.join(known)}.")
