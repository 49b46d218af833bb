"""Systems against a baseline, speaker by speaker, and what the comparison shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from toolkit.errors import ShapeError, did_you_mean
from toolkit.statistics.confusions import SpeakerConfusions, difference_by_speaker
from toolkit.statistics.intervals import NEGLIGIBLE, RESAMPLES, Interval, difference_interval
from toolkit.statistics.metrics import METRICS
from toolkit.statistics.paired_tests import holm, sign_flip_test

ALPHA = 0.05


@dataclass(frozen=True)
class Comparison:
    """One system against the baseline in one metric, over the speakers that both have.

    Args:
        system: its name.
        baseline: the other's name.
        metric: "wa" or "ua".
        difference: pooled accuracy of the system minus the baseline's, in fractions of 1; None without common speakers.
        interval: 95 % interval of the difference; None below `MIN_SPEAKERS` speakers.
        p: of the sign-flip test; None below `MIN_SPEAKERS` speakers.
        p_corrected: the same after Holm's correction over all that is compared together.
        n_speakers: how many speakers both have.
    """

    system: str
    baseline: str
    metric: str
    difference: float | None
    interval: Interval | None
    p: float | None
    p_corrected: float | None
    n_speakers: int

    @property
    def verdict(self) -> str:
        """What the comparison shows: "better", "worse", "no difference shown" or "too few speakers".

        The first two only where test and interval agree; the third does not mean that there is no difference.
        """
        if self.interval is None or self.p_corrected is None:
            return "too few speakers"
        if self.p_corrected >= ALPHA or not self.interval.excludes_zero():
            return "no difference shown"
        return "better" if self.interval.low > 0 else "worse"


def compare(
    systems: Mapping[str, SpeakerConfusions],
    *,
    baseline: str,
    metrics: Sequence[str] = METRICS,
    resamples: int = RESAMPLES,
) -> list[Comparison]:
    """Compare every other system with the baseline, over the speakers that the two have in common.

    Sign-flip test and interval are both of the pooled difference. Holm's correction covers everything that is
    returned: what is compared together is one family. The smallest p that n speakers can give is 2 / 2**n, so six of
    them (0.031) show nothing once two metrics are compared.

    Args:
        systems: name -> confusions by speaker, in the order of the result; the baseline's too.
        baseline: the name of one of them.
        metrics: "wa", "ua" or both.
        resamples: of each interval.

    Returns:
        One for each other system and metric, system by system.

    Raises:
        ShapeError: if two systems have different classes, or different utterances of a common speaker.
        ValueError: if the baseline is not one of the systems, or a metric is unknown.

    >>> right, half = [[2, 0], [0, 2]], [[1, 1], [1, 1]]
    >>> names = tuple("abcdefgh")
    >>> weak = SpeakerConfusions(names, ("ang", "sad"), np.array([half] * 8))
    >>> strong = SpeakerConfusions(names, ("ang", "sad"), np.array([right] * 7 + [half]))
    >>> found = compare({"weak": weak, "strong": strong}, baseline="weak", metrics=["wa"])[0]
    >>> found.difference, found.p, found.n_speakers, found.verdict
    (0.4375, 0.015625, 8, 'better')
    """
    if baseline not in systems:
        raise ValueError(
            f"no system is called {baseline!r}.{did_you_mean(baseline, systems)} Systems are {', '.join(systems)}"
        )
    found = []
    for name in systems:
        if name == baseline:
            continue
        a, b = _common(name, systems[name], baseline, systems[baseline])
        for metric in metrics:
            difference = interval = p = None
            if len(a):
                differences = difference_by_speaker(a, b, metric)
                differences[np.abs(differences) < NEGLIGIBLE] = 0
                difference, p = float(differences.sum()), sign_flip_test(differences)
                interval = difference_interval(a, b, metric, resamples=resamples)
            found.append(Comparison(name, baseline, metric, difference, interval, p, None, len(a)))
    corrected = holm([comparison.p for comparison in found])
    return [replace(comparison, p_corrected=p) for comparison, p in zip(found, corrected, strict=True)]


def _common(
    name: str, system: SpeakerConfusions, baseline_name: str, baseline: SpeakerConfusions
) -> tuple[np.ndarray, np.ndarray]:
    """The baseline's and the system's matrices of the speakers that both have, in the baseline's order."""
    if system.classes != baseline.classes:
        raise ShapeError(
            f"{name!r} has the classes {', '.join(system.classes)} and {baseline_name!r} has"
            f" {', '.join(baseline.classes)}: only systems with the same classes, in the same order, can be compared"
        )
    of_both = set(system.speakers) & set(baseline.speakers)
    speakers = [speaker for speaker in baseline.speakers if speaker in of_both]
    a, b = baseline.of(speakers), system.of(speakers)
    for speaker, of_baseline, of_system in zip(speakers, a.sum(axis=2), b.sum(axis=2), strict=True):
        if not np.allclose(of_baseline, of_system):
            raise ShapeError(
                f"{name!r} and {baseline_name!r} were not tested on the same utterances of speaker {speaker!r}:"
                f" by class {of_system.tolist()} and {of_baseline.tolist()}"
            )
    return a, b
