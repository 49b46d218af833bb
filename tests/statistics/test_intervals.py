import numpy as np
import pytest
from scipy import stats
from simulated_speakers import confusions_of, draw_pair, draw_system, true_accuracies

from toolkit.statistics import comparison
from toolkit.statistics.comparison import NEGLIGIBLE, Interval, interval
from toolkit.statistics.metrics import accuracy, hits_and_totals, pooled_accuracies

TEN = draw_system(np.random.default_rng(3), 10)
OTHER = confusions_of(np.maximum(np.diagonal(TEN, axis1=1, axis2=2) - 5, 0), TEN.sum(axis=2))


@pytest.fixture
def few_resamples(monkeypatch):
    monkeypatch.setattr(comparison, "RESAMPLES", 600)


def percentile(confusions, metric, *, seed):
    """The textbook's interval over speakers."""
    drawn = np.random.default_rng(seed).integers(0, len(confusions), (comparison.RESAMPLES, len(confusions)))
    return middle_95(confusions[drawn].sum(axis=1), metric)


def over_utterances(confusions, metric, *, seed):
    """What most papers' figures stand for: utterances drawn as if each were from a speaker of its own."""
    generator, pooled = np.random.default_rng(seed), confusions.sum(axis=0)
    n = int(pooled.sum())
    return middle_95(
        generator.multinomial(n, pooled.ravel() / n, size=comparison.RESAMPLES).reshape(-1, *pooled.shape), metric
    )


def middle_95(pooled, metric):
    """The percentile interval of the accuracies of resamples: [resamples, classes, classes]."""
    return Interval(*np.quantile(accuracy(*hits_and_totals(pooled), metric), [0.025, 0.975]))


def coverage(make_interval, speakers, metric, *, corpora=800):
    """How often the interval from this number of speakers covers the population's accuracy."""
    generator, truth = np.random.default_rng(1), true_accuracies()[metric]
    found = [make_interval(draw_system(generator, speakers), metric, seed=corpus) for corpus in range(corpora)]
    return np.mean([i.low <= truth <= i.high for i in found])


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("metric", ["wa", "ua"])
@pytest.mark.parametrize("speakers", [6, 10, 24])
def test_of_100_intervals_about_95_hold_the_truth_even_with_few_speakers(speakers, metric):
    assert 0.92 <= coverage(interval, speakers, metric) <= 0.98


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("metric", ["wa", "ua"])
def test_the_plain_percentile_interval_fails_that_check_at_ten_speakers(metric):
    assert coverage(percentile, 10, metric) < 0.92


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("metric", ["wa", "ua"])
def test_drawing_utterances_fails_it_by_a_wide_margin(metric):
    assert coverage(over_utterances, 10, metric, corpora=400) < 0.75


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("metric", ["wa", "ua"])
def test_intervals_of_a_difference_hold_0_as_often_where_there_is_none(metric):
    generator = np.random.default_rng(2)
    pairs = [draw_pair(generator, 10) for _ in range(800)]
    found = [interval(b, metric, minus=a) for a, b in pairs]
    assert 0.92 <= np.mean([i.low <= NEGLIGIBLE and i.high >= -NEGLIGIBLE for i in found]) <= 0.98


@pytest.mark.parametrize("metric", ["wa", "ua"])
def test_drawing_speakers_one_by_one_gives_the_same_interval(metric):
    """Against scipy's percentile bootstrap over rows, at the level to which ten speakers are expanded."""
    tail = stats.norm.cdf(np.sqrt(10 / 9) * stats.t.ppf(0.025, 9))  # about 1 %
    rows = (np.arange(10),)
    oracle = stats.bootstrap(
        rows,
        lambda speakers: getattr(pooled_accuracies(TEN[speakers]), metric),
        vectorized=False,
        confidence_level=1 - 2 * tail,
        method="percentile",
        n_resamples=5000,
        rng=np.random.default_rng(0),
    ).confidence_interval
    found = interval(TEN, metric)
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high), abs=0.002)
    assert 0.005 < tail < 0.015


def test_ua_of_a_resample_is_over_the_classes_its_speakers_have():
    """Only one of six speakers has the second class, and has it all wrong: without it UA is 1, with it 0.5."""
    confusions = np.zeros((6, 2, 2))
    confusions[:, 0, 0] = 10
    confusions[0, 1, 0] = 10
    assert interval(confusions, "ua") == Interval(0.5, 1.0)


def test_as_many_speakers_are_drawn_as_there_are():
    """One of six equally large speakers is right: a resample's accuracy is a sixth of how often that one is drawn.

    The tail is 0.24 %, and four or more draws of it happen in 0.87 % of resamples, five or more in 0.07 %.
    """
    confusions = np.zeros((6, 2, 2))
    confusions[:, 0, 1] = 10
    confusions[0, 0] = [10, 0]
    found = interval(confusions, "wa")
    assert (found.low, found.high) == pytest.approx((0, 4 / 6))
    assert stats.binom.sf([3, 4], 6, 1 / 6) == pytest.approx([0.0087, 0.0007], abs=1e-4)


def test_a_difference_that_every_speaker_shares_is_narrower_than_the_two_accuracies():
    """All have five fewer correct utterances in each class: speakers differ, and alike in both systems."""
    difference = interval(OTHER, "wa", minus=TEN)
    alone = interval(TEN, "wa")
    assert difference.high < 0
    assert difference.high - difference.low < (alone.high - alone.low) / 3


def test_swapping_the_systems_mirrors_the_interval():
    there, back = interval(OTHER, "ua", minus=TEN), interval(TEN, "ua", minus=OTHER)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))


def test_the_mean_over_seeds_and_the_sum_over_seeds_have_one_interval():
    mean, total = interval(TEN / 3, "ua"), interval(TEN, "ua")
    assert (mean.low, mean.high) == pytest.approx((total.low, total.high))


def test_a_seed_repeats_itself():
    assert interval(TEN, "wa") == interval(TEN, "wa") != interval(TEN, "wa", seed=1)


def test_five_speakers_have_no_interval_and_six_have():
    assert interval(TEN[:5], "wa") is None
    assert interval(OTHER[:5], "wa", minus=TEN[:5]) is None
    assert interval(TEN[:6], "wa") is not None
