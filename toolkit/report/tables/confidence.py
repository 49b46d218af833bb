"""How reliable a system's probabilities are, as computed and at a temperature, and what abstaining changes."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np

from toolkit.errors import PredictionError
from toolkit.report.evidence import SystemRuns
from toolkit.report.tables.formats import COUNT, DONE, NATS, PERCENT, Format
from toolkit.report.tables.table import SYSTEM, Column, Table
from toolkit.statistics.confidence import (
    BINS,
    RULES,
    Answered,
    expected_calibration_error,
    negative_log_likelihood,
    read_rule,
)

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

    def column(key: str, title: str, format: Format, measure: Callable[..., float]) -> Column:
        def value(tested: SystemRuns) -> float | None:
            found = read(tested)
            return None if found is None else measure(found, tested.answers.reference, labels=tested.labels)

        return Column(key + suffix, title, format, group, value)

    return [column(*measure) for measure in MEASURES]


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
