"""Tests of paired differences: flips of sign by speaker, and Holm's correction for many of them. Imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.errors import ShapeError
from toolkit.statistics.confusions import MIN_SPEAKERS

EXACT_UP_TO = 40  # differences other than 0; two lists of 2**20 sums are met in the middle
DRAWS = 99_999
_BLOCK = 10_000  # draws held in memory at once
_ROUNDING = 1e-9  # of the sum of all sizes: sums nearer than this are the same sum


@dataclass(frozen=True)
class SignFlip:
    """What `sign_flip_test` found.

    Args:
        p: two-sided; None where there are too few differences.
        n: differences, those of 0 included.
        exact: whether all flips were counted; False where they were drawn at random, or nothing was tested.
    """

    p: float | None
    n: int
    exact: bool


def sign_flip_test(
    differences: Sequence[float] | np.ndarray, *, draws: int = DRAWS, seed: int | np.random.Generator = 0
) -> SignFlip:
    """Whether paired differences are shifted from 0: the permutation test of Fisher, "The design of experiments", 1935.

    If two systems are equally good, either's answers for a speaker could be the other's, and every choice of signs
    is as likely as the one seen. p is the share of choices whose sum is as far from 0 as the sum seen, or farther;
    sums that differ only by rounding are the same.

    Args:
        differences: one for each speaker; the mean over seeds, as seeds of one speaker are no independent pairs.
        draws: random choices of signs where more than `EXACT_UP_TO` differences are not 0; p is then
            (1 + how many reach the sum seen) / (1 + draws) (Phipson and Smyth, 2010).
        seed: of those draws.

    Returns:
        p and how it came about; p is None below `MIN_SPEAKERS` differences.

    Raises:
        ShapeError: if the differences are not one row of finite numbers.

    >>> sign_flip_test([0.02, 0.01, 0.03, 0.02, 0.01, 0.04])  # two of the 64 choices: all up and all down
    SignFlip(p=0.03125, n=6, exact=True)
    """
    differences = np.asarray(differences, dtype=float)
    if differences.ndim != 1 or not np.isfinite(differences).all():
        raise ShapeError(f"one finite difference for each speaker is needed, not {differences.tolist()}")
    n = len(differences)
    if n < MIN_SPEAKERS:
        return SignFlip(None, n, exact=False)
    moving = differences[differences != 0]  # to flip a 0 changes no sum
    threshold = abs(moving.sum()) - _ROUNDING * np.abs(moving).sum()
    if threshold <= 0:
        return SignFlip(1.0, n, exact=True)
    if len(moving) <= EXACT_UP_TO:
        return SignFlip(_exact_p(moving, threshold), n, exact=True)
    return SignFlip(_drawn_p(moving, threshold, draws, np.random.default_rng(seed)), n, exact=False)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct p values for their number: the chance of any false finding among them stays below the level.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6,
    1979.

    Args:
        p_values: 0 to 1; None where nothing was tested, which counts for nothing.

    Returns:
        The corrected values in the same order, never above 1; None stays None.

    Raises:
        ValueError: if a value is not between 0 and 1.

    >>> holm([0.01, None, 0.04, 0.03])
    [0.03, None, 0.06, 0.06]
    """
    tested = [(p, place) for place, p in enumerate(p_values) if p is not None]
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(sorted(tested)):
        if not 0 <= p <= 1:
            raise ValueError(f"a p value lies between 0 and 1, not at {p}")
        largest = min(1.0, max(largest, (len(tested) - rank) * float(p)))
        corrected[place] = largest
    return corrected


def _exact_p(differences: np.ndarray, threshold: float) -> float:
    """The share of signed sums at or beyond +-threshold, which is above 0."""
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


def _drawn_p(differences: np.ndarray, threshold: float, draws: int, generator: np.random.Generator) -> float:
    reaching = 0
    for start in range(0, draws, _BLOCK):
        signs = 2.0 * generator.integers(0, 2, (min(_BLOCK, draws - start), len(differences)), dtype=np.int8) - 1
        reaching += int((np.abs(signs @ differences) >= threshold).sum())
    return (1 + reaching) / (1 + draws)
