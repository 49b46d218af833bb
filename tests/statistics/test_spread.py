import subprocess
import sys

import pytest

from toolkit.statistics.metrics import spread

RUNS = [  # fold, seed, wa, ua
    ("1M", 1, 0.50, 0.40),
    ("1M", 2, 0.70, 0.60),
    ("1F", 1, 0.80, 0.70),
    ("1F", 2, 0.80, 0.70),
]


def test_the_mean_is_over_folds_and_each_spread_over_means():
    """WA of folds: 0.6 and 0.8; of seeds: 0.65 and 0.75. Two values lie their distance / sqrt(2) apart."""
    found = spread(RUNS)["wa"]
    assert found.mean == pytest.approx(0.7)
    assert found.over_folds == pytest.approx(0.2 / 2**0.5)
    assert found.over_seeds == pytest.approx(0.1 / 2**0.5)
    assert spread(RUNS)["ua"].mean == pytest.approx(0.6)


def test_a_fold_with_more_seeds_weighs_no_more():
    assert spread(RUNS[:3])["wa"].mean == pytest.approx(0.7)


def test_one_fold_or_one_seed_has_no_spread():
    assert spread(RUNS[:2])["wa"].over_folds is None
    assert spread(RUNS[:2])["wa"].over_seeds == pytest.approx(0.2 / 2**0.5)
    assert spread([RUNS[0], RUNS[2]])["wa"].over_seeds is None


def test_a_seed_that_lacks_a_fold_is_left_out_of_the_spread_over_seeds():
    found = spread([*RUNS, ("1M", 3, 0.1, 0.1)])["wa"]
    assert found.over_seeds == spread(RUNS)["wa"].over_seeds
    assert spread(RUNS[:3])["wa"].over_seeds is None


def test_statistics_import_neither_torch_nor_scikit_learn():
    code = "import sys, toolkit.statistics.comparison; print({'torch', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
