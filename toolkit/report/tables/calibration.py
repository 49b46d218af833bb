"""How reliable the probabilities are."""

import numpy as np

from toolkit.report.evidence import Evidence, SystemRuns, stamps_of
from toolkit.report.tables.columns import SYSTEM, incomplete_note
from toolkit.report.tables.formats import COUNT, PERCENT
from toolkit.report.tables.table import Column, Table
from toolkit.statistics import BINS, expected_calibration_error


def calibration_table(evidence: Evidence, protocol: str) -> Table:
    """Expected calibration error, mean confidence and accuracy of every system that has runs."""
    rows = evidence.tested(protocol)
    columns = [
        SYSTEM,
        Column("ece", "ECE %", PERCENT, value=_calibration_error),
        Column("confidence", "mean confidence %", PERCENT, value=lambda t: float(t.probabilities.max(axis=1).mean())),
        Column("wa", "WA %", PERCENT, value=_accuracy),
        Column("answers", "answers", COUNT, value=lambda tested: len(tested.reference)),
    ]
    notes = [
        f"ECE: expected calibration error in {BINS} bins, 0 is best; few answers make it larger than the true error. "
        "Answers: test utterances of all seeds. Confidence: the probability of the predicted class.",
        *incomplete_note(rows),
    ]
    return Table("calibration", "Calibration", columns, rows, stamps_of(rows), notes)


def _calibration_error(tested: SystemRuns) -> float:
    return expected_calibration_error(tested.probabilities, tested.reference, labels=tested.labels)


def _accuracy(tested: SystemRuns) -> float:
    return float((np.array(tested.labels)[tested.probabilities.argmax(axis=1)] == tested.reference).mean())
