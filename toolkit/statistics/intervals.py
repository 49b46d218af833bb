"""Intervals of accuracies, by bootstrap over speakers.

The utterances of one speaker resemble each other, and so do a system's errors on them: an interval that resamples
utterances is far too narrow. So whole speakers are drawn (Field and Welsh, "Bootstrapping clustered data", Journal of
the Royal Statistical Society B 69, 2007). With ten of them the percentile interval (Efron and Tibshirani, "An
introduction to the bootstrap", 1993, chapter 13) is still too narrow, so its ends are moved outward: the expanded
percentile interval of Hesterberg, "What teachers should know about the bootstrap", The American Statistician 69, 2015.
The tests simulate how often each of the three covers the true accuracy.

What these intervals cannot cover: speakers tested by one trained system (folds of several speakers) share that
training's luck, and all folds share most of their training data.
"""

from dataclasses import dataclass

import numpy as np

from toolkit.statistics.confusions import MIN_SPEAKERS, hits_and_totals
from toolkit.statistics.metrics import accuracy

LEVEL = 0.95  # how often an interval covers the true accuracy
RESAMPLES = 10_000
NEGLIGIBLE = 1e-12  # of an accuracy: anything smaller is rounding
_BLOCK = 1_000  # resamples held in memory at once


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`, both in fractions of 1."""

    low: float
    high: float

    def excludes_zero(self) -> bool:
        """Whether all of it is on one side of 0, by more than rounding."""
        return self.low > NEGLIGIBLE or self.high < -NEGLIGIBLE


def interval(confusions: np.ndarray, metric: str, *, minus: np.ndarray | None = None, seed: int = 0) -> Interval | None:
    """A 95 % interval for the pooled accuracy over speakers like these, or for its difference from that of `minus`.

    Args: confusions: [speakers, classes, classes]; metric: "wa" or "ua", which in a resample is over the classes that
        its speakers have; minus: of another system, the same speakers in the same order, with the same utterances; each
        drawn speaker counts in both; seed: of the draws.
    Returns: the interval, or None below `MIN_SPEAKERS` speakers.
    """
    hits, totals = hits_and_totals(confusions, minus)  # accuracies are linear in hits, and so in their differences
    n = len(hits)
    if n < MIN_SPEAKERS:
        return None
    generator = np.random.default_rng(seed)
    found = []
    for start in range(0, RESAMPLES, _BLOCK):
        size = min(_BLOCK, RESAMPLES - start)
        drawn = generator.multinomial(n, np.full(n, 1 / n), size=size).astype(float)  # [resamples, speakers]
        found.append(accuracy(drawn @ hits, drawn @ totals, metric))
    tail = _expanded_tail((1 - LEVEL) / 2, n)
    low, high = np.quantile(np.concatenate(found), [tail, 1 - tail])
    return Interval(float(low), float(high))


def _expanded_tail(tail: float, n: int) -> float:
    """The fraction to cut off at each end so that n speakers cover what infinitely many would.

    The bootstrap's spread is too small by sqrt((n - 1) / n), and the normal quantile stands where Student's should.
    """
    from scipy import stats  # slow to import, and only intervals need it

    return float(stats.norm.cdf(np.sqrt(n / (n - 1)) * stats.t.ppf(tail, n - 1)))
