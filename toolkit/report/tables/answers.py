"""Tables of single answers: calibration, what abstaining changes, and utterances that all systems get wrong."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace

import numpy as np

from toolkit.errors import PredictionError
from toolkit.report.evidence import SystemRuns
from toolkit.report.tables.table import COUNT, DONE, NATS, PERCENT, PERCENT_1, SECONDS, SYSTEM, Column, Table
from toolkit.statistics.confidence import (
    BINS,
    RULES,
    Answered,
    expected_calibration_error,
    negative_log_likelihood,
    read_rule,
)

SHOWN = 50  # utterances that all get wrong
MEASURES = (  # key, title, format, function of probabilities, reference and labels
    ("ece", "ECE %", PERCENT, expected_calibration_error),
    ("nll", "NLL", NATS, negative_log_likelihood),
    ("confidence", "mean confidence %", PERCENT, lambda probabilities, *_, labels: float(probabilities.max(1).mean())),
)


def calibration_table(rows: Sequence[SystemRuns]) -> Table:
    """Calibration of every system, as computed and at the temperatures of its runs."""
    columns = [
        SYSTEM,
        *_measure_columns("as computed", "", lambda tested: tested.answers.probabilities),
        *_measure_columns("at temperature", "_after", lambda tested: tested.calibrated),
        Column("wa", "WA %", PERCENT, value=lambda t: float((t.answers.predicted == t.answers.reference).mean())),
        Column("answers", "answers", COUNT, value=lambda t: len(t.answers.id)),
    ]
    notes = [
        f"ECE: expected calibration error in {BINS} bins; few answers make it larger than the true error. NLL: "
        "negative log-likelihood. 0 is best for both. Confidence: the probability of the predicted class. Answers: "
        "test utterances of all seeds. The temperature of a run is fitted on its validation part.",
    ]
    return Table("calibration", "Calibration", columns, rows, rows, notes)


def abstention_table(tested: Sequence[SystemRuns]) -> Table | None:
    """Each run's test part after abstaining by thresholds from its validation part; None without such thresholds."""
    systems = [system for system in tested if system.calibrated is not None]
    rows = [_abstaining(system, rule) for system in systems for rule in RULES]
    columns = [
        Column("system", "system"),
        Column("rule", "--abstain"),
        Column("runs", "runs", DONE),
        Column("coverage", "labelled %", PERCENT),
        Column("error", "of these wrong %", PERCENT),
        Column("error_by_speaker", "mean of speakers %", PERCENT),
    ]
    notes = [
        "Over the test parts of all runs. Runs: those whose validation part can promise the rate; the others give no "
        "labels. An error rate is promised for the mean over speakers like those of the validation part.",
    ]
    return Table("abstaining", "Abstaining", columns, rows, systems, notes) if rows else None


def _measure_columns(group: str, suffix: str, read: Callable[[SystemRuns], np.ndarray | None]) -> list[Column]:
    """A column for each of `MEASURES`, of the probabilities that `read` gives; the suffix ends its key."""

    def value(tested: SystemRuns, measure: Callable[..., float]) -> float | None:
        found = read(tested)
        return None if found is None else measure(found, tested.answers.reference, labels=tested.labels)

    return [
        Column(key + suffix, title, format, group, partial(value, measure=measure))
        for key, title, format, measure in MEASURES
    ]


def _abstaining(tested: SystemRuns, rule: str) -> SimpleNamespace:
    """The row of a system and a rule; a run that cannot promise the rule's rate gives no labels."""
    found, a = [], tested.answers
    for run in tested.runs:
        try:
            found.append(run.confidence.threshold(*read_rule(rule)))
        except PredictionError:
            found.append(np.inf)
    thresholds = np.repeat(found, [len(run.answers.id) for run in tested.runs])
    answered = Answered.of(tested.calibrated.max(axis=1) >= thresholds, a.predicted == a.reference, a.speaker)
    runs = int(np.isfinite(found).sum()), len(found)
    return SimpleNamespace(system=tested.name, rule=rule, runs=runs, **vars(answered))


def hard_utterance_table(tested: Sequence[SystemRuns]) -> Table:
    """Utterances that all systems were tested on and always got wrong; lowest probability of the true class first."""
    found: dict[str, SimpleNamespace] = {}  # by id
    for system in tested:
        columns = (values.tolist() for values in vars(system.answers).values())
        for name, speaker, _, seconds, reference, predicted, probabilities in zip(*columns, strict=True):
            facts = {"speaker": speaker or None, "seconds": seconds if seconds > 0 else None, "reference": reference}
            u = found.setdefault(name, SimpleNamespace(id=name, **facts, predicted={}, given=[]))
            u.predicted.setdefault(system.name, []).append(predicted)
            u.given.append(probabilities[system.labels.index(reference)])
    of_all = [u for u in found.values() if len(u.predicted) == len(tested)]
    hard = [u for u in of_all if not any(u.reference in predicted for predicted in u.predicted.values())]
    given = lambda u: float(np.mean(u.given))  # noqa: E731
    hard.sort(key=lambda u: (given(u), u.id))
    columns = [
        Column("id", "utterance"),
        Column("speaker", "speaker"),
        Column("seconds", "seconds", SECONDS),
        Column("reference", "is"),
        Column("given", "its probability %", PERCENT_1, value=given),
    ]
    for name in (system.name for system in tested):
        answers = lambda u, name=name: _counts(u.predicted[name])  # noqa: E731
        columns.append(Column(f"said_{name}", name, group="answers", value=answers))
    shown = f"; {SHOWN} of them are shown, all are in tables/hard_utterances.csv" if len(hard) > SHOWN else ""
    notes = [
        f"{len(hard):,} of the {len(of_all):,} utterances that every system was tested on{shown}.",
        "Its probability: that of the true class, the mean over systems and seeds; the most confident errors first.",
    ]
    title = "Utterances that all systems get wrong with every seed"
    return Table("hard_utterances", title, columns, hard, tested, notes, SHOWN)


def _counts(answers: list[str]) -> str:
    """Each answer once, with its count where seeds differ."""
    counts = Counter(answers).most_common()
    return counts[0][0] if len(counts) == 1 else ", ".join(f"{answer} {count}" for answer, count in counts)
