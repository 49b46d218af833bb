"""Accuracies with their spread and intervals, paired tests, calibration.

The speaker is the unit: intervals draw speakers, tests pair them, and below `MIN_SPEAKERS` there are neither.
"""

from toolkit.statistics.calibration import BINS, ReliabilityCurve, expected_calibration_error, reliability_curve
from toolkit.statistics.comparison import ALPHA, Comparison, compare, holm
from toolkit.statistics.confusions import (
    MIN_SPEAKERS,
    Accuracies,
    SpeakerConfusions,
    pooled_accuracies,
    speaker_confusions,
)
from toolkit.statistics.intervals import LEVEL, Interval, interval
from toolkit.statistics.metrics import METRICS, Spread, spread

__all__ = [
    "ALPHA",
    "BINS",
    "LEVEL",
    "METRICS",
    "MIN_SPEAKERS",
    "Accuracies",
    "Comparison",
    "Interval",
    "ReliabilityCurve",
    "SpeakerConfusions",
    "Spread",
    "compare",
    "expected_calibration_error",
    "holm",
    "interval",
    "pooled_accuracies",
    "reliability_curve",
    "speaker_confusions",
    "spread",
]
