import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from toolkit.errors import ShapeError
from toolkit.statistics import confidence
from toolkit.statistics.confidence import (
    TEMPERATURES,
    at_temperature,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability_curve,
)

TWO = range(2)


def pairs(*confidences):
    """Probabilities of two classes, from those of the first."""
    return np.array([[c, 1 - c] for c in confidences])


def draw(seed, *, utterances=500, classes=4, sharpness=1.5):
    """Probabilities, and true classes drawn from them: calibrated by construction."""
    generator = np.random.default_rng(seed)
    scores = np.exp(sharpness * generator.normal(size=(utterances, classes)))
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    reference = (generator.random((utterances, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    return probabilities, np.minimum(reference, classes - 1)


def test_the_error_by_hand():
    """In the bin of 0.9: 2 of 4 right at 0.9, off by 0.4; in that of 0.6: 1 of 1 at 0.6, off by 0.4 the other way."""
    probabilities = pairs(0.9, 0.9, 0.9, 0.9, 0.6)
    assert expected_calibration_error(probabilities, [0, 0, 1, 1, 0], labels=TWO) == pytest.approx(0.4)
    assert expected_calibration_error(probabilities, [0, 0, 0, 0, 0], labels=TWO) == pytest.approx((4 * 0.1 + 0.4) / 5)


def test_bins_are_cut_at_equal_widths_and_hold_their_upper_bound(monkeypatch):
    """Of four bins 0.75 ends the third, a little more begins the fourth; the first two are empty."""
    monkeypatch.setattr(confidence, "BINS", 4)
    curve = reliability_curve(pairs(0.75, 0.65, 0.76, 1.0), [0, 1, 0, 0], labels=TWO)
    assert curve.centre.tolist() == [0.625, 0.875]
    assert curve.count.tolist() == [2, 2]
    assert curve.confidence.tolist() == pytest.approx([0.7, 0.88])
    assert curve.accuracy.tolist() == [0.5, 1.0]


def test_there_are_fifteen_bins(monkeypatch):
    """0.7 parts 0.68 and 0.72 and bounds one of ten bins; of fifteen, the bin from 10 / 15 to 11 / 15 holds both.

    The one is right and the other wrong: together off by 0.2, each for itself by 0.32 and 0.72.
    """
    probabilities = pairs(0.68, 0.72)
    assert expected_calibration_error(probabilities, [0, 1], labels=TWO) == pytest.approx(0.2)
    monkeypatch.setattr(confidence, "BINS", 10)
    assert expected_calibration_error(probabilities, [0, 1], labels=TWO) == pytest.approx((0.32 + 0.72) / 2)


@pytest.mark.parametrize("bins", [1, 10, 15])
@pytest.mark.parametrize("classes", [2, 4])
def test_the_curve_is_scikit_learns_of_being_right_against_confidence(classes, bins, monkeypatch):
    monkeypatch.setattr(confidence, "BINS", bins)
    probabilities, reference = draw(classes, classes=classes)
    right = probabilities.argmax(axis=1) == reference
    accuracy, mean_confidence = calibration_curve(right, probabilities.max(axis=1), n_bins=bins)
    curve = reliability_curve(probabilities, reference, labels=range(classes))
    np.testing.assert_allclose(curve.accuracy, accuracy, rtol=1e-12)
    np.testing.assert_allclose(curve.confidence, mean_confidence, rtol=1e-12)
    assert curve.count.sum() == 500
    by_bin = (np.abs(accuracy - mean_confidence) * curve.count).sum() / 500
    assert expected_calibration_error(probabilities, reference, labels=range(classes)) == pytest.approx(by_bin)


def test_a_calibrated_system_has_a_small_error_and_an_overconfident_one_a_large_one():
    probabilities, reference = draw(0, utterances=20_000)
    sharper = probabilities**3 / (probabilities**3).sum(axis=1, keepdims=True)
    assert expected_calibration_error(probabilities, reference, labels=range(4)) < 0.02
    assert expected_calibration_error(sharper, reference, labels=range(4)) > 0.1


def test_labels_may_be_names_or_numbers():
    probabilities, reference = draw(1)
    labels = ["ang", "sad", "hap", "neu"]
    named = [labels[i] for i in reference]
    by_name = expected_calibration_error(probabilities, named, labels=labels)
    assert by_name == expected_calibration_error(probabilities, reference, labels=range(4))


@pytest.mark.parametrize(
    ("probabilities", "reference", "text"),
    [
        (np.zeros((0, 2)), [], r"not \[0, 2\] for 0 true labels"),
        ([0.5, 0.5], [0, 1], r"\[utterances, classes\]"),
        (pairs(0.9, 0.8), [0], r"not \[2, 2\] for 1 true labels"),
        ([[0.9, 0.1], [0.9, 0.2]], [0, 0], "row 1 does not hold probabilities that sum to 1"),
        ([[1.5, -0.5]], [0], "row 0 does not hold probabilities"),
        ([[float("nan"), 1.0]], [0], "row 0 does not hold probabilities"),
    ],
)
def test_rows_that_are_not_probabilities_are_an_error(probabilities, reference, text):
    with pytest.raises(ShapeError, match=text):
        expected_calibration_error(probabilities, reference, labels=TWO)


def test_labels_are_checked():
    with pytest.raises(ValueError, match=r"label 'sda' is not one of ang, sad\. Did you mean 'sad'"):
        reliability_curve(pairs(0.9), ["sda"], labels=["ang", "sad"])
    with pytest.raises(ValueError, match="label 2 is not one of 0, 1"):
        reliability_curve(pairs(0.9), [2], labels=TWO)
    with pytest.raises(ShapeError, match=r"of the classes \['ang'\]"):
        reliability_curve(pairs(0.9), ["ang"], labels=["ang"])


@pytest.mark.parametrize("seed", range(5))
def test_a_temperature_is_never_worse_than_none_on_what_it_was_fitted_on_and_changes_no_label(seed):
    probabilities, reference = draw(seed, classes=seed + 2)
    sharper = probabilities**3 / (probabilities**3).sum(axis=1, keepdims=True)
    for given in (probabilities, sharper, np.where(sharper < 1e-3, 0.0, sharper)):
        given = given / given.sum(axis=1, keepdims=True)
        known = {"labels": range(given.shape[1])}
        temperature = fit_temperature(given, reference, **known)
        fitted = at_temperature(given, temperature)
        assert negative_log_likelihood(fitted, reference, **known) <= negative_log_likelihood(given, reference, **known)
        for any_one in (temperature, *TEMPERATURES, 0.7, 3.0):
            assert (at_temperature(given, any_one).argmax(axis=1) == given.argmax(axis=1)).all()


def test_the_temperature_that_made_a_system_overconfident_is_found():
    probabilities, reference = draw(3, utterances=20_000)
    sharper = at_temperature(probabilities, 1 / 3)
    temperature = fit_temperature(sharper, reference, labels=range(4))
    assert temperature == pytest.approx(3, rel=0.05)
    assert at_temperature(sharper, 3.0) == pytest.approx(probabilities)
    before, after = (
        expected_calibration_error(p, reference, labels=range(4))
        for p in (sharper, at_temperature(sharper, temperature))
    )
    assert after < 0.02 < 0.1 < before


def test_the_temperature_is_1_if_all_are_correct_and_the_highest_if_all_are_wrong():
    assert fit_temperature(pairs(0.9, 0.6), [0, 0], labels=TWO) == 1.0
    assert fit_temperature(pairs(0.9, 0.6), [1, 1], labels=TWO) == pytest.approx(TEMPERATURES[1], rel=1e-3)


def test_a_temperature_of_2_takes_square_roots():
    assert at_temperature(np.array([[0.8, 0.2]]), 2.0) == pytest.approx(np.array([[2 / 3, 1 / 3]]))


def test_the_likelihood_by_hand():
    """-log 0.8 and -log 0.4; a probability of 0 for the true class costs much and is finite."""
    found = negative_log_likelihood(pairs(0.8, 0.6), [0, 1], labels=TWO)
    assert found == pytest.approx(-(np.log(0.8) + np.log(0.4)) / 2)
    assert 700 < negative_log_likelihood(pairs(1.0), [1], labels=TWO) < 710
