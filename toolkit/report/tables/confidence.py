"""How reliable a system's probabilities are, as computed and at a temperature, and what abstaining changes."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

from toolkit.errors import PredictionError
from toolkit.report.evidence import Evidence, SystemRuns, stamps_of
from toolkit.report.tables.formats import COUNT, DONE, NATS, PERCENT
from toolkit.report.tables.table import SYSTEM, Column, Table, incomplete_note
from toolkit.statistics.abstention import RULES, Answered, Confidence, read_rule
from toolkit.statistics.calibration import BINS, expected_calibration_error, negative_log_likelihood


def calibration_table(evidence: Evidence, protocol: str) -> Table:
    """Calibration of every system that has runs, as computed and at the temperatures of its runs."""
    rows = evidence.tested(protocol)
    columns = [
        SYSTEM,
        *_columns("", "as computed", lambda tested: tested.probabilities),
        *_columns("_after", "at temperature", lambda tested: tested.calibrated),
        Column("wa", "WA %", PERCENT, value=lambda tested: float(_correct(tested).mean())),
        Column("answers", "answers", COUNT, value=lambda tested: len(tested.reference)),
    ]
    notes = [
        f"ECE: expected calibration error in {BINS} bins; few answers make it larger than the true error. NLL: "
        "negative log-likelihood. 0 is best for both. Confidence: the probability of the predicted class. Answers: "
        "test utterances of all seeds. The temperature of a run is fitted on its validation part.",
        *incomplete_note(rows),
    ]
    return Table("calibration", "Calibration", columns, rows, stamps_of(rows), notes)


def abstention_table(evidence: Evidence, protocol: str) -> Table | None:
    """Each run's test part after abstaining by thresholds from its validation part; None without such thresholds."""
    systems = [tested for tested in evidence.tested(protocol) if tested.calibrated is not None]
    rows = [_abstaining(tested, rule) for tested in systems for rule in RULES]
    columns = [
        Column(SYSTEM.key, SYSTEM.title, SYSTEM.format),
        Column("rule", "--abstain"),
        Column("runs", "runs", DONE),
        Column("coverage", "labelled %", PERCENT),
        Column("error", "of these wrong %", PERCENT),
        Column("error_by_speaker", "mean of speakers %", PERCENT),
    ]
    notes = [
        "Over the test parts of all runs. Runs: those whose validation part can promise the rate; the others give no "
        "labels. An error rate is promised for the mean over speakers like those of the validation part.",
        *incomplete_note(systems),
    ]
    return Table("abstaining", "Abstaining", columns, rows, stamps_of(systems), notes) if rows else None


def _columns(suffix: str, group: str, probabilities: Callable[[SystemRuns], np.ndarray | None]) -> list[Column]:
    def value(measure: Callable[..., float]) -> Callable[[SystemRuns], float | None]:
        def of(tested: SystemRuns) -> float | None:
            found = probabilities(tested)
            return None if found is None else measure(found, tested.reference, labels=tested.labels)

        return of

    return [
        Column(f"ece{suffix}", "ECE %", PERCENT, group, value(expected_calibration_error)),
        Column(f"nll{suffix}", "NLL", NATS, group, value(negative_log_likelihood)),
        Column(
            f"confidence{suffix}",
            "mean confidence %",
            PERCENT,
            group,
            value(lambda p, *_, labels: float(p.max(axis=1).mean())),
        ),
    ]


def _correct(tested: SystemRuns) -> np.ndarray:
    """Whether each answer is correct."""
    return np.array(tested.labels)[tested.probabilities.argmax(axis=1)] == tested.reference


def _abstaining(tested: SystemRuns, rule: str) -> SimpleNamespace:
    """The row of a system and a rule; a run that cannot promise the rule's rate gives no labels."""
    found = [_threshold(confidence, rule) for confidence in tested.confidences]
    thresholds = np.repeat(found, [len(answers.id) for answers in tested.answers])
    speakers = np.concatenate([answers.speaker for answers in tested.answers])
    answered = Answered.of(tested.calibrated.max(axis=1) >= thresholds, _correct(tested), speakers)
    runs = int(np.isfinite(found).sum()), len(found)
    return SimpleNamespace(system=tested, rule=rule, runs=runs, **vars(answered))


def _threshold(confidence: Confidence, rule: str) -> float:
    try:
        return confidence.threshold(*read_rule(rule))
    except PredictionError:
        return np.inf
