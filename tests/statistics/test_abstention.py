"""Thresholds for abstaining: by hand, and how often their promise holds for speakers who were not seen."""

import numpy as np
import pytest

from toolkit.errors import PredictionError
from toolkit.statistics.confidence import (
    PERCENTS,
    UNFITTED,
    Answered,
    Confidence,
    at_temperature,
    coverage_thresholds,
    error_thresholds,
    read_rule,
)

CLASSES = 4


def at(thresholds, percent):
    return thresholds[percent - PERCENTS.start]


def draw(generator, speakers, *, utterances=30):
    """Recordings of speakers who are hard to different degrees, and an overconfident system's probabilities."""
    reference = generator.integers(CLASSES, size=(speakers, utterances))
    skill = 1.6 + 0.8 * generator.normal(size=(speakers, 1))
    scores = generator.normal(size=(speakers, utterances, CLASSES))
    scores += skill[..., None] * (np.arange(CLASSES) == reference[..., None])
    probabilities = np.exp(3 * scores) / np.exp(3 * scores).sum(axis=-1, keepdims=True)
    names = np.repeat([f"s{i}" for i in range(speakers)], utterances)
    return probabilities.reshape(-1, CLASSES), reference.ravel(), names


def test_a_coverage_is_the_share_that_gets_a_label():
    confidence = np.array([0.1, 0.5, 0.4, 0.3, 0.2])
    found = coverage_thresholds(confidence)
    assert [at(found, percent) for percent in (20, 21, 40, 60, 99)] == pytest.approx([0.45, 0.35, 0.35, 0.25, 0.0])
    for percent in PERCENTS:
        assert (confidence >= at(found, percent)).mean() >= percent / 100


def test_error_thresholds_by_hand():
    """As the threshold falls, a: right, right, wrong; b: right, wrong. Their worst shares: 0, 0, 1/3; 0, 1/2.

    With a third speaker who gets wrong labels alone, the mean is 1/3, then (1/2 + 1) / 3, then (1/2 + 1/3 + 1) / 3.
    """
    confidence, correct = np.array([0.9, 0.8, 0.5, 0.85, 0.7]), np.array([True, True, False, True, False])
    found = error_thresholds(confidence, correct, list("aaabb"))
    expected = {34: 0.75, 49: 0.75, 50: 0.6, 61: 0.6, 62: 0.0, 99: 0.0}  # half-way to the next confidence
    assert {percent: at(found, percent) for percent in expected} == pytest.approx(expected)
    assert at(found, 33) is None


def test_equal_confidences_get_their_labels_together():
    """One of three with the same confidence is wrong: their share is 1/3, whichever comes first."""
    confidence = np.full(3, 0.5)
    for correct in ([False, True, True], [True, True, False]):
        found = error_thresholds(confidence, np.array(correct), ["a"] * 3)
        assert at(found, 66) is None and at(found, 67) == 0.0  # (1/3 + 1) / 2


def test_a_wrong_answer_before_all_others_counts_at_every_threshold():
    confidence, correct = np.linspace(0.9, 0.1, 9), np.arange(9) > 0
    assert error_thresholds(confidence, correct, ["a"] * 9) == (None,) * 99


def parts(speakers):
    """Validation parts of `speakers`, each with ten new ones: probabilities, reference, names, who is new."""
    for seed in range(200):
        probabilities, reference, names = draw(np.random.default_rng(seed), speakers + 10)
        yield probabilities, reference, names, np.isin(names, [f"s{number}" for number in range(10)])


def mean_and_error(values):
    return np.mean(values), np.std(values) / np.sqrt(len(values))


@pytest.mark.parametrize(("speakers", "share"), [(4, 0.25), (9, 0.15), (19, 0.1)])
def test_the_promised_error_rate_holds_for_new_speakers(speakers, share):
    """With a temperature and a threshold of each part, labels are given, and fewer are wrong than without."""
    errors, labelled, wrong = [], [], []
    for probabilities, reference, names, new in parts(speakers):
        known = {"labels": range(CLASSES), "speakers": names[~new].tolist()}
        confidence = Confidence.fit(probabilities[~new], reference[~new], **known)
        threshold = at(confidence.error, round(100 * share))
        tempered = at_temperature(probabilities[new], confidence.temperature)
        correct = tempered.argmax(axis=1) == reference[new]
        answered = tempered.max(axis=1) >= (np.inf if threshold is None else threshold)
        found = Answered.of(answered, correct, names[new])
        errors.append(found.error_by_speaker)
        labelled.append(found.coverage)
        wrong.append(np.mean(~correct))
    mean, error = mean_and_error(errors)
    assert mean + 3 * error <= share < np.mean(wrong)
    assert np.mean(labelled) > 0.15


def test_a_threshold_that_suits_the_validation_part_does_not_suit_new_speakers():
    """Why the rule is cautious: 5 % of the labels of four speakers are wrong, and twice as many of new ones."""
    errors = []
    for probabilities, reference, names, new in parts(4):
        confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == reference
        for threshold in np.quantile(confidence[~new], np.linspace(0, 1, 40)):
            found = Answered.of(confidence[~new] >= threshold, correct[~new], names[~new])
            if found.error_by_speaker <= 0.05:
                break
        errors.append(Answered.of(confidence[new] >= threshold, correct[new], names[new]).error_by_speaker)
    mean, error = mean_and_error(errors)
    assert mean - 3 * error > 0.08


def test_what_abstaining_does():
    answered, correct = np.array([True, True, False, True, False]), np.array([True, False, False, True, True])
    found = Answered.of(answered, correct, list("aaabb"))
    assert (found.coverage, found.error, found.error_by_speaker) == (0.6, pytest.approx(1 / 3), 0.25)  # a 1/2, b 0
    assert Answered.of(answered, correct, ["a", "a", "a", "b", ""]).error_by_speaker is None
    none = Answered.of(np.zeros(2, dtype=bool), np.ones(2, dtype=bool), ["a", "b"])
    assert (none.coverage, none.error, none.error_by_speaker) == (0.0, None, 0.0)


def test_a_promise_that_cannot_be_kept_is_refused_with_the_lowest_that_can():
    probabilities, reference, names = draw(np.random.default_rng(1), 4)
    given = {"labels": [str(i) for i in range(CLASSES)]}
    reference = [str(i) for i in reference]
    found = Confidence.fit(probabilities, reference, speakers=names.tolist(), **given)
    least = next(percent for percent in PERCENTS if at(found.error, percent) is not None)
    assert found.threshold("confidence", 0.6) == 0.6
    assert found.threshold("coverage", 0.8) == at(found.coverage, 80)
    assert found.threshold("error", least / 100) == at(found.error, least)
    with pytest.raises(
        PredictionError,
        match=rf"of 9 or more speakers .* \(there are 4\).* The lowest possible is error:{least / 100:g}$",
    ):
        found.threshold("error", 0.1)
    unknown = Confidence.fit(probabilities, reference, speakers=["", *names[1:].tolist()], **given)
    with pytest.raises(
        PredictionError, match=r"error:0\.3 cannot be promised: .* \(there are 0\).* Use coverage:SHARE$"
    ):
        unknown.threshold("error", 0.3)
    never = [str(i) for i in (probabilities.argmax(axis=1) + 1) % CLASSES]
    wrong = Confidence.fit(probabilities, never, speakers=names.tolist(), **given)
    with pytest.raises(PredictionError, match=r"\(there are 4\), with few errors at high confidences"):
        wrong.threshold("error", 0.3)
    with pytest.raises(PredictionError, match=r"coverage:0\.8 needs thresholds from a validation part"):
        UNFITTED.threshold("coverage", 0.8)


@pytest.mark.parametrize("text", ["nan", "-1", "2", "x", "", "inf", "1e308", "eror:0.1", "error", ":0.5", "0.5:0.5"])
def test_text_that_is_not_a_rule_is_refused(text):
    with pytest.raises(PredictionError, match="a confidence from 0 to 1, coverage:SHARE or error:SHARE is needed"):
        read_rule(text)


@pytest.mark.parametrize("text", ["error:0", "error:1", "coverage:80", "coverage:0.805", "error:nan", "error:"])
def test_shares_are_whole_percents(text):
    with pytest.raises(
        PredictionError, match=r"a share is a whole percent, 0\.01 to 0\.99: (coverage|error):0\.2 is 20 %"
    ):
        read_rule(text)


def test_the_nearest_kind_is_named():
    with pytest.raises(PredictionError, match="Did you mean 'error'"):
        read_rule("eror:0.1")
