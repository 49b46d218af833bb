from dataclasses import replace

import numpy as np
import pytest
from simulated_speakers import confusions_of, draw_pair

from toolkit.errors import ShapeError
from toolkit.statistics.comparison import Comparison, Interval, compare, holm
from toolkit.statistics.metrics import pooled_accuracies


def system(confusions, *, first=0):
    """Speakers are called s0, s1, ..."""
    return {f"s{first + i}": matrix for i, matrix in enumerate(confusions)}


def right(*hits):
    """Speakers with these numbers of correct utterances out of ten in each class."""
    return confusions_of(np.array([[h] * 4 for h in hits]), np.full((len(hits), 4), 10))


def verdicts(*pairs):
    return [c.verdict for a, b in pairs for c in compare({"a": a, "b": b})]


def test_a_system_that_is_better_for_each_of_ten_speakers_is_better_and_the_reverse_is_worse():
    weak, strong = system(right(*[5, 6] * 5)), system(right(*[7, 9] * 5))
    wa, ua = compare({"weak": weak, "strong": strong})
    assert (wa.system, wa.baseline, wa.metric, ua.metric) == ("strong", "weak", "wa", "ua")
    assert wa.difference == pytest.approx(0.25)
    assert (wa.p, wa.p_corrected, wa.n_speakers, wa.verdict) == (2 / 1024, 4 / 1024, 10, "better")
    assert 0.2 <= wa.interval.low < 0.25 < wa.interval.high <= 0.3
    assert compare({"strong": strong, "weak": weak})[0].verdict == "worse"


def test_utterances_of_unknown_speakers_are_not_a_speaker():
    weak, strong = system(right(*[5, 6] * 5)), system(right(*[7, 9] * 5))
    for confusions in (weak, strong):
        confusions[""] = confusions.pop("s0")
    for found in compare({"weak": weak, "strong": strong}):
        assert (found.interval, found.p, found.verdict) == (None, None, "unnamed speakers: no test")
        assert found.difference == pytest.approx(0.25)


def test_a_system_is_not_better_than_itself():
    same = system(right(*[5, 6] * 5))
    for found in compare({"a": same, "b": same}):
        assert (found.difference, found.interval, found.p) == (0.0, Interval(0.0, 0.0), 1.0)
        assert found.verdict == "no difference shown"


def test_rounding_in_the_mean_over_seeds_is_not_a_difference():
    """One more "ang" and one less "sad" of ten cancel; with thirds, of three seeds, some 1e-18 a speaker is left."""
    totals = np.full((8, 4), 10)
    a, b = (confusions_of(np.array([hits] * 8) / 3, totals) for hits in ([1, 7, 5, 5], [4, 4, 5, 5]))
    for found in compare({"a": system(a), "b": system(b)}):
        assert (found.p, found.verdict) == (1.0, "no difference shown")


def test_six_speakers_that_all_agree_are_enough_for_one_metric_and_not_for_two():
    """p is 2 / 64 = 0.031 at the least, and Holm doubles it."""
    pair = system(right(5, 5, 5, 5, 5, 5)), system(right(6, 7, 8, 6, 7, 8))
    (wa,) = compare(dict(zip("ab", pair, strict=True)), metrics=["wa"])
    assert wa.verdict == "better"
    assert verdicts(pair) == ["too few speakers to tell"] * 2
    seven = system(right(5, 5, 5, 5, 5, 5, 5)), system(right(6, 7, 8, 6, 7, 8, 5))
    assert verdicts(seven) == ["no difference shown"] * 2, "2 * 2 / 128 = 0.031 could have been reached"


def test_five_speakers_get_a_difference_and_no_verdict():
    found = compare({"a": system(right(*[1] * 5)), "b": system(right(*[10] * 5))})[0]
    assert found.difference == pytest.approx(0.9)
    assert (found.interval, found.p, found.p_corrected, found.n_speakers) == (None, None, None, 5)
    assert found.verdict == "too few speakers to tell"


def test_only_the_speakers_that_both_have_are_compared():
    """The baseline has s0 to s9 and the other s3 to s12, in another order; s3 to s9 differ by 1 of 10."""
    a = system(right(*[9] * 3, *[5] * 7))
    b = system(right(*[6] * 7, *[0] * 3), first=3)
    turned = dict(reversed(b.items()))
    found = compare({"a": a, "b": turned})[0]
    assert (found.n_speakers, found.p) == (7, 2 / 128)
    assert found.difference == pytest.approx(0.1)


def test_without_a_common_speaker_there_is_no_difference_to_give():
    found = compare({"a": system(right(5, 5)), "b": system(right(5, 5), first=2)})[0]
    assert (found.difference, found.n_speakers, found.verdict) == (None, 0, "too few speakers to tell")


def test_speakers_are_paired_by_name_and_not_by_position():
    """Put in the other's order, a speaker's 9 of 10 would meet the other system's 1 of 10."""
    hits = [1, 9, 2, 8, 3, 7]
    a, b = system(right(*hits)), system(right(*[h + 1 for h in hits]))
    turned = dict(reversed(b.items()))
    assert compare({"a": a, "b": turned}) == compare({"a": a, "b": b})


def test_the_difference_is_that_of_the_pooled_accuracies_and_the_correction_is_over_all():
    generator = np.random.default_rng(0)
    a, b = draw_pair(generator, 10, gain=0.3)
    weaker = confusions_of(np.maximum(np.diagonal(a, axis1=1, axis2=2) - 3, 0), a.sum(axis=2))
    found = compare({"a": system(a), "b": system(b), "c": system(weaker)})
    assert [(c.system, c.metric) for c in found] == [("b", "wa"), ("b", "ua"), ("c", "wa"), ("c", "ua")]
    for comparison, other in zip(found, [b, b, weaker, weaker], strict=True):
        pooled = [getattr(pooled_accuracies(x), comparison.metric) for x in (a, other)]
        assert comparison.difference == pytest.approx(pooled[1] - pooled[0])
    assert [c.p_corrected for c in found] == holm([c.p for c in found])
    assert found[0].p_corrected > found[0].p


BETTER = Comparison("b", "a", "wa", 0.05, Interval(0.01, 0.09), 0.004, 0.02, 10)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "better"),
        ({"difference": -0.05, "interval": Interval(-0.09, -0.01)}, "worse"),
        ({"interval": Interval(-0.001, 0.09)}, "no difference shown"),
        ({"interval": Interval(0.0, 0.09)}, "no difference shown"),
        ({"interval": Interval(1e-17, 0.09)}, "no difference shown"),
        ({"p_corrected": 0.05}, "no difference shown"),
        ({"p_corrected": 0.06, "p": 0.004}, "no difference shown"),
        ({"interval": None, "p": None, "p_corrected": None, "n_speakers": 5}, "too few speakers to tell"),
    ],
)
def test_a_verdict_needs_both_the_corrected_test_and_the_interval(change, verdict):
    assert replace(BETTER, **change).verdict == verdict


def test_equally_good_systems_differ_in_at_most_5_of_100_corpora(monkeypatch):
    """By the test alone at its nominal rate, by the verdict on either of two metrics no more often."""
    monkeypatch.setattr("toolkit.statistics.comparison.RESAMPLES", 400)
    generator = np.random.default_rng(5)
    tested, claimed = [], []
    for _ in range(600):
        a, b = draw_pair(generator, 10)
        found = compare({"a": system(a), "b": system(b)})
        tested.append(found[0].p <= 0.05)
        claimed.append(any(c.verdict in ("better", "worse") for c in found))
    assert 0.02 <= np.mean(tested) <= 0.07
    assert np.mean(claimed) <= 0.06


def test_a_real_gain_is_found(monkeypatch):
    """0.4 logits are some 8 points, and the intervals of ten speakers reach some 3 to either side."""
    monkeypatch.setattr("toolkit.statistics.comparison.RESAMPLES", 400)
    generator = np.random.default_rng(6)
    found = [verdicts(tuple(map(system, draw_pair(generator, 10, gain=0.4)))) for _ in range(40)]
    assert np.mean([wa == "better" for wa, _ in found]) > 0.9


def test_systems_with_other_utterances_are_not_compared():
    a, more = system(right(*[5] * 6)), right(*[5] * 6)
    more[2, 0, 0] += 1
    with pytest.raises(ShapeError, match="'b' and 'a' have different utterances of speaker 's2'"):
        compare({"a": a, "b": system(more)})
