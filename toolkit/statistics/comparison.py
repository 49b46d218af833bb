"""Intervals of accuracies, and systems against a baseline: sign-flip tests, Holm's correction, verdicts; by speaker.

The utterances of one speaker resemble each other, and so do a system's errors on them: an interval that resamples
utterances is far too narrow. So whole speakers are drawn (Field and Welsh, "Bootstrapping clustered data", Journal of
the Royal Statistical Society B 69, 2007). With ten of them the percentile interval is still too narrow, so its ends are
moved outward: the expanded percentile interval of Hesterberg, "What teachers should know about the bootstrap", The
American Statistician 69, 2015. The tests simulate how often each of the three covers the true accuracy.

What these intervals cannot cover: speakers tested by one trained system (folds of several speakers) share that
training's luck, and all folds share most of their training data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from toolkit.errors import ShapeError
from toolkit.statistics.metrics import METRICS, Confusions, accuracy, difference_by_speaker, hits_and_totals

MIN_SPEAKERS = 6  # five pairs that all agree still have p = 2 / 32 > 0.05: with fewer nothing can be shown
LEVEL = 0.95  # how often an interval covers the true accuracy
RESAMPLES = 10_000
NEGLIGIBLE = 1e-12  # of an accuracy: anything smaller is rounding
ALPHA = 0.05
TOO_FEW = "too few speakers to tell"
UNNAMED = "unnamed speakers: no test"
EXACT_UP_TO = 40  # differences other than 0; they are split into two halves of 2**20 sums each
DRAWS = 99_999
_RESAMPLE_BLOCK, _BLOCK = 1_000, 10_000  # resamples and draws held in memory at once
_ROUNDING = 1e-9  # of the sum of absolute differences: sums closer than this are equal


class Interval(NamedTuple):
    """From `low` to `high`, both in fractions of 1."""

    low: float
    high: float


def interval(confusions: np.ndarray, metric: str, *, minus: np.ndarray | None = None, seed: int = 0) -> Interval | None:
    """A 95 % interval for the pooled accuracy over speakers like these; None below `MIN_SPEAKERS`.

    UA in a resample is over the classes that its speakers have. Confusions are [speakers, classes, classes]; with those
    of another system on the same utterances as `minus`, the interval is for the difference.
    """
    from scipy import stats  # slow to import, and only intervals need it

    hits, totals = hits_and_totals(confusions)
    if minus is not None:  # accuracies are linear in hits, and so in their differences
        hits = hits - hits_and_totals(minus)[0]
    n = len(hits)
    if n < MIN_SPEAKERS:
        return None
    generator = np.random.default_rng(seed)
    found = []
    for start in range(0, RESAMPLES, _RESAMPLE_BLOCK):
        size = min(_RESAMPLE_BLOCK, RESAMPLES - start)
        drawn = generator.multinomial(n, np.full(n, 1 / n), size=size).astype(float)  # [resamples, speakers]
        found.append(accuracy(drawn @ hits, drawn @ totals, metric))
    # the bootstrap's spread is too small by sqrt((n - 1) / n), and it uses the normal quantile instead of Student's
    tail = float(stats.norm.cdf(np.sqrt(n / (n - 1)) * stats.t.ppf((1 - LEVEL) / 2, n - 1)))
    low, high = np.quantile(np.concatenate(found), [tail, 1 - tail])
    return Interval(float(low), float(high))


@dataclass(frozen=True)
class Comparison:
    """One system against the baseline in one metric, over the speakers that both have."""

    system: str
    baseline: str
    metric: str  # "wa" or "ua"
    difference: float | None  # of the system's pooled accuracy, in fractions of 1; None without a common speaker
    interval: Interval | None  # 95 %; None below `MIN_SPEAKERS`, or where an utterance has no speaker
    p: float | None  # of the sign-flip test; None where the interval is
    p_corrected: float | None  # after Holm's correction over everything compared together
    n_speakers: int  # that both have
    least_p: float | None = None  # the smallest corrected p that so many speakers can give
    named: bool = True  # whether every utterance has a speaker

    @property
    def verdict(self) -> str:
        """What the comparison shows: "better", "worse", "no difference shown", `TOO_FEW` or `UNNAMED`.

        The first two need the test and the interval to agree; the third does not mean that the two systems are equal.
        """
        if not self.named:
            return UNNAMED
        if self.interval is None or self.p_corrected is None or (self.least_p or 0.0) >= ALPHA:
            return TOO_FEW
        if self.p_corrected < ALPHA and self.interval.low > NEGLIGIBLE:
            return "better"
        return "worse" if self.p_corrected < ALPHA and self.interval.high < -NEGLIGIBLE else "no difference shown"


def compare(systems: Mapping[str, Confusions], *, metrics: Sequence[str] = METRICS) -> list[Comparison]:
    """Compare every other system with the first, the baseline, over the speakers that the two have in common.

    The sign-flip test and the interval are both for the pooled difference. Holm's correction covers everything that is
    returned, as one family. The smallest p that n speakers can give is 2 / 2**n, so six of them (0.031) show nothing
    once two metrics are compared. With unknown speakers, under "", there is neither a test nor an interval.
    """
    found = []
    (baseline, base), *others = systems.items()
    for name, other in others:
        speakers = [speaker for speaker in base if speaker in other]
        for speaker in speakers:
            if not np.allclose(base[speaker].sum(axis=1), other[speaker].sum(axis=1)):
                raise ShapeError(f"{name!r} and {baseline!r} have different utterances of speaker {speaker!r}")
        a = np.array([base[speaker] for speaker in speakers])
        b = np.array([other[speaker] for speaker in speakers])
        named = "" not in speakers  # where "" stands for several people
        for metric in metrics:
            difference = ends = p = None
            if speakers:
                differences = difference_by_speaker(a, b, metric)
                differences[np.abs(differences) < NEGLIGIBLE] = 0
                difference = float(differences.sum())
                if named:
                    p, ends = sign_flip_test(differences), interval(b, metric, minus=a)
            found.append(Comparison(name, baseline, metric, difference, ends, p, None, len(speakers), named=named))
    return corrected(found)


def sign_flip_test(differences: Sequence[float] | np.ndarray, *, seed: int = 0) -> float | None:
    """The p of a two-sided test of whether paired differences are shifted from 0 (Fisher, 1935).

    If two systems are equally good, every choice of the differences' signs is as likely as the observed one. p is the
    fraction of choices whose sum is at least as far from 0 as the observed sum. All choices are counted where up to
    `EXACT_UP_TO` differences are not 0, which scipy's permutation_test cannot do beyond about 20. With more, `DRAWS`
    are drawn and p is (1 + how many reach the observed sum) / (1 + `DRAWS`) (Phipson and Smyth, 2010). p is None below
    `MIN_SPEAKERS` differences.
    """
    differences = np.asarray(differences, dtype=float)
    if len(differences) < MIN_SPEAKERS:
        return None
    moving = differences[differences != 0]  # flipping a 0 changes no sum
    threshold = abs(moving.sum()) - _ROUNDING * np.abs(moving).sum()
    if threshold <= 0:
        return 1.0
    if len(moving) <= EXACT_UP_TO:
        half = len(moving) // 2
        left, right = _signed_sums(moving[:half]), np.sort(_signed_sums(moving[half:]))
        reaching = len(right) - np.searchsorted(right, threshold - left)
        return 2 * int(reaching.sum()) / 2 ** len(moving)  # as many reach -threshold
    generator, reached = np.random.default_rng(seed), 1
    for start in range(0, DRAWS, _BLOCK):
        signs = 2.0 * generator.integers(0, 2, (min(_BLOCK, DRAWS - start), len(moving)), dtype=np.int8) - 1
        reached += int((np.abs(signs @ moving) >= threshold).sum())
    return reached / (1 + DRAWS)


def corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Apply Holm's correction over all comparisons, to p and to the smallest p that their speakers can give."""
    least = [2 / 2**c.n_speakers if c.n_speakers <= EXACT_UP_TO else 1 / (1 + DRAWS) for c in comparisons]
    least = holm([None if c.p is None else p for c, p in zip(comparisons, least, strict=True)])
    both = zip(comparisons, holm([c.p for c in comparisons]), least, strict=True)
    return [replace(c, p_corrected=p, least_p=smallest) for c, p, smallest in both]


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct p values for their number, so that the chance of any false positive stays below the level.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979. None,
    where nothing was tested, does not count and stays None.
    """
    tested = [(p, index) for index, p in enumerate(p_values) if p is not None]
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(sorted(tested)):
        largest = min(1.0, max(largest, (len(tested) - rank) * float(p)))
        corrected[index] = largest
    return corrected


def _signed_sums(differences: np.ndarray) -> np.ndarray:
    """The sums under all choices of signs: [2 ** differences]."""
    sums = np.zeros(1)
    for difference in differences:
        sums = np.concatenate([sums - difference, sums + difference])
    return sums
