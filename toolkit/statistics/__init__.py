"""What may be said of results: accuracies with spread and interval, paired tests, groups, calibration; no torch.

The speaker is the unit: intervals draw speakers, tests pair them, and below `MIN_SPEAKERS` nothing is claimed.
"""

from toolkit.statistics.calibration import BINS, ReliabilityCurve, expected_calibration_error, reliability_curve
from toolkit.statistics.comparison import ALPHA, Comparison, compare
from toolkit.statistics.confusions import (
    METRICS,
    MIN_SPEAKERS,
    Accuracies,
    SpeakerConfusions,
    difference_shares,
    pooled_accuracies,
    speaker_accuracies,
    speaker_confusions,
)
from toolkit.statistics.grouping import Thirds, by_group, duration_thirds
from toolkit.statistics.intervals import LEVEL, Interval, difference_interval, interval
from toolkit.statistics.paired_tests import SignFlip, holm, sign_flip_test
from toolkit.statistics.spread import Spread, spread

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
    "SignFlip",
    "SpeakerConfusions",
    "Spread",
    "Thirds",
    "by_group",
    "compare",
    "difference_interval",
    "difference_shares",
    "duration_thirds",
    "expected_calibration_error",
    "holm",
    "interval",
    "pooled_accuracies",
    "reliability_curve",
    "sign_flip_test",
    "speaker_accuracies",
    "speaker_confusions",
    "spread",
]
