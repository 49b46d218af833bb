"""The mean of an accuracy over folds, and its deviation over folds and seeds."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np

from toolkit.errors import ShapeError
from toolkit.statistics.metrics import METRICS


@dataclass(frozen=True)
class Spread:
    """The mean of an accuracy over folds, and its deviation over folds and seeds.

    Args:
        mean: over folds, of the means over each fold's seeds.
        over_folds: standard deviation (n - 1) of those fold means; None with one fold.
        over_seeds: standard deviation (n - 1) of the seeds' means over folds, of seeds that have every fold; None
            with fewer than two such seeds.
    """

    mean: float
    over_folds: float | None
    over_seeds: float | None


def spread(runs: Iterable[tuple[Hashable, Hashable, float, float]]) -> dict[str, Spread]:
    """Mean over folds, spread over folds, spread over seeds: what most papers print; it is not an interval.

    A seed that lacks a fold is left out of the spread over seeds: its mean would differ because that fold is hard or
    easy.

    Args:
        runs: (fold, seed, accuracy in each of `METRICS`) for each run.

    Returns:
        Metric -> its spread.

    Raises:
        ShapeError: if there is no row, or an accuracy is not a finite number.
        ValueError: if a fold and seed occur twice.

    >>> found = spread([("1M", 1, 0.5, 0.4), ("1M", 2, 0.7, 0.4), ("1F", 1, 0.8, 0.6)])["wa"]
    >>> round(found.mean, 2), round(found.over_folds, 2), found.over_seeds
    (0.7, 0.14, None)
    """
    of: dict[Hashable, dict[Hashable, list[float]]] = {}
    for fold, seed, *accuracies in runs:
        if seed in of.setdefault(fold, {}):
            raise ValueError(f"fold {fold!r} with seed {seed!r} occurs twice: one row for each run is needed")
        if not np.isfinite(accuracies).all():
            raise ShapeError(f"fold {fold!r} with seed {seed!r} has the accuracies {accuracies}, not numbers")
        of[fold][seed] = accuracies
    if not of:
        raise ShapeError("there is no run to take the mean of")
    complete = [seed for seed in next(iter(of.values())) if all(seed in seeds for seeds in of.values())]
    fold_means = np.array([np.mean(list(seeds.values()), axis=0) for seeds in of.values()])  # [folds, metrics]
    seed_means = [np.mean([seeds[seed] for seeds in of.values()], axis=0) for seed in complete]  # [seeds, metrics]
    over_folds, over_seeds = _deviation(fold_means), _deviation(seed_means)
    return {
        metric: Spread(float(fold_means[:, i].mean()), over_folds[i], over_seeds[i]) for i, metric in enumerate(METRICS)
    }


def _deviation(means: np.ndarray | list[np.ndarray]) -> list[float | None]:
    """Of every metric; None with one value."""
    return [None] * len(METRICS) if len(means) < 2 else np.std(means, axis=0, ddof=1).tolist()
