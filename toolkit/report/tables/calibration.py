"""How far the probabilities can be believed. Imports no torch."""

import numpy as np

from toolkit.report.evidence import Evidence
from toolkit.report.tables.accuracy import INCOMPLETE, incomplete_note
from toolkit.report.tables.formats import COUNT, MARKED, PERCENT, Marked
from toolkit.report.tables.table import Column, Table
from toolkit.statistics import BINS, ReliabilityCurve, expected_calibration_error, reliability_curve


def calibration_table(evidence: Evidence, protocol: str) -> Table:
    """Expected calibration error, mean confidence and accuracy of every system that has runs."""
    columns = [
        Column("system", "system", MARKED),
        Column("ece", "ECE %", PERCENT),
        Column("confidence", "mean confidence %", PERCENT),
        Column("wa", "WA %", PERCENT),
        Column("answers", "answers", COUNT),
    ]
    systems, rows = evidence.tested(protocol), []
    for system in systems:
        probabilities, reference = pooled_probabilities(evidence, system, protocol)
        right = np.array(evidence.labels)[probabilities.argmax(axis=1)] == reference
        rows.append(
            {
                "system": Marked(system, "" if evidence.complete(system, protocol) else INCOMPLETE),
                "ece": expected_calibration_error(probabilities, reference, labels=evidence.labels),
                "confidence": float(probabilities.max(axis=1).mean()),
                "wa": float(right.mean()),
                "answers": len(reference),
            }
        )
    notes = [
        f"ECE: expected calibration error in {BINS} bins, 0 is best; few answers make it larger than the truth. "
        "Answers: test utterances of all seeds. Confidence: the probability of the predicted class.",
        *incomplete_note(rows),
    ]
    return Table("calibration", "Calibration", columns, rows, evidence.stamps(systems, [protocol]), notes)


def curve(evidence: Evidence, system: str, protocol: str) -> ReliabilityCurve:
    """Accuracy against confidence of a system, over all test utterances and seeds."""
    return reliability_curve(*pooled_probabilities(evidence, system, protocol), labels=evidence.labels)


def pooled_probabilities(evidence: Evidence, system: str, protocol: str) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [answers, classes] and true labels [answers] of all runs of a system."""
    answers = evidence.all_answers(system, protocol)
    return np.concatenate([a.probabilities for a in answers]), np.concatenate([a.reference for a in answers])
