import numpy as np
import pytest
from scipy import stats

from toolkit.statistics.comparison import holm, sign_flip_test


def test_six_speakers_all_better_are_two_of_64_choices():
    assert sign_flip_test([0.01, 0.02, 0.03, 0.01, 0.02, 0.05]) == 2 / 64
    assert sign_flip_test([-0.01, -0.02, -0.03, -0.01, -0.02, -0.05]) == 2 / 64


def test_one_speaker_of_six_that_is_worse_by_as_much_as_another_is_better():
    """Sizes 1 1 1 1 1 1 with one minus: |sum| >= 4 are 2 choices of 6 and 12 of 4, of 64."""
    assert sign_flip_test([1, 1, 1, 1, 1, -1]) == 14 / 64


def test_sums_that_differ_by_rounding_alone_are_ties():
    """In decimal 0.1 + 0.2 - 0.3 is 0, so that each of the choices is counted; in binary it is 5.6e-17."""
    assert sign_flip_test([0.1, 0.2, -0.3, 0.1, 0.2, -0.3]) == 1
    assert sign_flip_test([0.1, 0.1, 0.1, 0.1, 0.1, -0.1]) == 14 / 64


@pytest.mark.parametrize("n", [6, 7, 10, 12])
@pytest.mark.parametrize("kind", ["real", "with ties and zeros"])
def test_p_is_scipys(n, kind):
    generator = np.random.default_rng(n)
    for _ in range(5):
        differences = generator.normal(0.4, 1, n) if kind == "real" else generator.integers(-2, 4, n)
        oracle = stats.permutation_test((differences,), np.sum, permutation_type="samples", n_resamples=np.inf)
        assert sign_flip_test(differences) == pytest.approx(oracle.pvalue, abs=1e-12)


def test_no_difference_at_all_has_p_1():
    assert sign_flip_test(np.zeros(10)) == 1.0


def test_a_speaker_without_difference_does_not_change_p():
    some = [0.01, 0.02, -0.005, 0.01, 0.02, 0.05]
    assert sign_flip_test([*some, 0.0]) == sign_flip_test(some)


def test_forty_differences_are_still_counted_one_by_one():
    """Only two choices reach the sum when all agree."""
    assert sign_flip_test(np.linspace(1, 2, 40)) == 2 / 2**40


def test_speakers_without_difference_do_not_count_towards_the_forty():
    assert sign_flip_test([*np.linspace(1, 2, 40), *np.zeros(5)]) == 2 / 2**40


def test_with_more_differences_choices_are_drawn_the_same_each_time():
    differences = np.tile([1.0, 1.0, -1.0], 20)  # 40 up and 20 down: |sum| >= 20 of 60 coins
    exact = 2 * stats.binom.sf(39, 60, 0.5)
    found = sign_flip_test(differences)
    assert found == pytest.approx(exact, abs=0.002)
    assert sign_flip_test(differences) == found
    assert sign_flip_test(differences, seed=1) != found


def test_a_drawn_p_is_never_0():
    assert sign_flip_test(np.ones(60)) == 1 / 100_000


def test_five_speakers_are_too_few():
    assert sign_flip_test([1, 1, 1, 1, 1]) is None


def test_holm_by_hand():
    """Sorted 0.005 0.01 0.03 0.04 times 4 3 2 1: 0.02 0.03 0.06 0.04, and none below the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_stops_at_1_and_leaves_one_value_as_it_is():
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


def test_holm_does_not_count_what_was_not_tested():
    assert holm([None, 0.02, None, 0.03]) == [None, 0.04, None, 0.04]


@pytest.mark.parametrize("seed", range(5))
def test_holm_rejects_what_stepping_down_rejects(seed):
    """Holm's own wording: go from the smallest, stop at the first that exceeds level / (how many are left)."""
    p_values = np.random.default_rng(seed).beta(0.3, 3, 12)
    for level in (0.01, 0.05, 0.2):
        rejected = set()
        for left, place in zip(range(12, 0, -1), np.argsort(p_values), strict=True):
            if p_values[place] > level / left:
                break
            rejected.add(int(place))
        assert {place for place, p in enumerate(holm(p_values)) if p <= level} == rejected
