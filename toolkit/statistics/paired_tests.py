"""Sign-flip tests of paired differences, and Holm's correction for many of them."""

from collections.abc import Sequence

import numpy as np

from toolkit.errors import ShapeError
from toolkit.statistics.confusions import MIN_SPEAKERS

EXACT_UP_TO = 40  # differences other than 0; two lists of 2**20 sums are met in the middle
DRAWS = 99_999
_BLOCK = 10_000  # draws held in memory at once
_ROUNDING = 1e-9  # of the sum of all sizes: sums nearer than this are the same sum


def sign_flip_test(differences: Sequence[float] | np.ndarray, *, seed: int = 0) -> float | None:
    """Return p of a two-sided test whether paired differences are shifted from 0.

    If two systems are equally good, either's answers for a speaker could be the other's, and every choice of signs
    is as likely as the observed one. p is the fraction of choices whose sum is at least as far from 0 as the observed
    sum; sums that differ only by rounding are equal. All choices are counted where up to `EXACT_UP_TO` differences
    are not 0, which scipy's permutation_test cannot do beyond some 20. With more, `DRAWS` choices are drawn and p is
    (1 + how many reach the observed sum) / (1 + `DRAWS`) (Phipson and Smyth, 2010).

    Source: Fisher, "The design of experiments", 1935.

    Args:
        differences: one for each speaker; the mean over seeds, since seeds of one speaker are not independent pairs.
        seed: of the draws.

    Returns:
        p, or None below `MIN_SPEAKERS` differences.

    Raises:
        ShapeError: if the differences are not one row of finite numbers.

    >>> sign_flip_test([0.02, 0.01, 0.03, 0.02, 0.01, 0.04])  # two of the 64 choices: all up and all down
    0.03125
    """
    differences = np.asarray(differences, dtype=float)
    if differences.ndim != 1 or not np.isfinite(differences).all():
        raise ShapeError(f"one finite difference for each speaker is needed, not {differences.tolist()}")
    if len(differences) < MIN_SPEAKERS:
        return None
    moving = differences[differences != 0]  # flipping a 0 changes no sum
    threshold = abs(moving.sum()) - _ROUNDING * np.abs(moving).sum()
    if threshold <= 0:
        return 1.0
    if len(moving) <= EXACT_UP_TO:
        return _exact_p(moving, threshold)
    return _drawn_p(moving, threshold, np.random.default_rng(seed))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct p values for their number: the chance of any false positive among them stays below the level.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6,
    1979.

    Args:
        p_values: 0 to 1; None where nothing was tested, which does not count.

    Returns:
        The corrected values in the same order, never above 1; None stays None.

    Raises:
        ValueError: if a value is not between 0 and 1.

    >>> holm([0.01, None, 0.04, 0.03])
    [0.03, None, 0.06, 0.06]
    """
    tested = [(p, index) for index, p in enumerate(p_values) if p is not None]
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(sorted(tested)):
        if not 0 <= p <= 1:
            raise ValueError(f"a p value is between 0 and 1, not {p}")
        largest = min(1.0, max(largest, (len(tested) - rank) * float(p)))
        corrected[index] = largest
    return corrected


def _exact_p(differences: np.ndarray, threshold: float) -> float:
    """The fraction of signed sums at or beyond +-threshold, which is above 0."""
    half = len(differences) // 2
    left, right = _signed_sums(differences[:half]), np.sort(_signed_sums(differences[half:]))
    reaching = len(right) - np.searchsorted(right, threshold - left)
    return 2 * int(reaching.sum()) / 2 ** len(differences)  # as many reach -threshold


def _signed_sums(differences: np.ndarray) -> np.ndarray:
    """The sums under all choices of signs: [2 ** differences]."""
    sums = np.zeros(1)
    for difference in differences:
        sums = np.concatenate([sums - difference, sums + difference])
    return sums


def _drawn_p(differences: np.ndarray, threshold: float, generator: np.random.Generator) -> float:
    reaching = 0
    for start in range(0, DRAWS, _BLOCK):
        signs = 2.0 * generator.integers(0, 2, (min(_BLOCK, DRAWS - start), len(differences)), dtype=np.int8) - 1
        reaching += int((np.abs(signs @ differences) >= threshold).sum())
    return (1 + reaching) / (1 + DRAWS)
