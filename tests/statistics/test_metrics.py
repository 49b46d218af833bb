import numpy as np
import pytest
import sklearn.metrics as oracle
import torch

from toolkit.statistics import metrics

REFERENCE = ["ang", "ang", "sad", "sad", "sad", "sad", "neu"]
PREDICTED = ["ang", "sad", "sad", "sad", "sad", "neu", "ang"]
LABELS = ["neu", "ang", "sad", "hap"]


def summary(reference, predicted, *, labels):
    return metrics.summary(metrics.confusion_matrix(reference, predicted, labels=labels), labels=labels)


def test_wa_is_the_share_of_right_utterances_and_ua_the_mean_recall():
    found = summary(REFERENCE, PREDICTED, labels=LABELS)
    assert found["wa"] == pytest.approx(4 / 7)
    assert found["ua"] == pytest.approx((1 / 2 + 3 / 4 + 0) / 3)


def test_ua_leaves_out_classes_that_only_the_prediction_holds():
    assert summary(["ang", "ang", "sad"], ["ang", "hap", "sad"], labels=LABELS)["ua"] == 0.75


def test_confusion_has_the_reference_in_rows_and_the_given_order():
    expected = [[0, 1, 0, 0], [0, 1, 1, 0], [1, 0, 3, 0], [0, 0, 0, 0]]
    assert metrics.confusion_matrix(REFERENCE, PREDICTED, labels=LABELS).tolist() == expected


def test_f1_by_hand_and_0_for_a_label_that_never_occurs():
    found = summary(REFERENCE, PREDICTED, labels=LABELS)
    assert found["f1"] == pytest.approx({"neu": 0.0, "ang": 0.5, "sad": 0.75, "hap": 0.0})
    assert found["macro_f1"] == pytest.approx((0 + 0.5 + 0.75) / 3)


@pytest.mark.parametrize("classes", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", ["text", "numbers", "torch"])
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true:UserWarning")
@pytest.mark.filterwarnings("ignore:A single label was found:UserWarning")
def test_all_metrics_equal_scikit_learns(classes, kind):
    generator = np.random.default_rng(classes)
    reference, predicted = generator.integers(0, classes, (2, 60))
    reference[reference == classes - 1] = 0  # one class is only ever predicted
    order = list(range(classes))
    if kind == "text":
        reference, predicted, order = ([f"c{i}" for i in x] for x in (reference, predicted, order))
    expected = {
        "n_utterances": 60,
        "wa": oracle.accuracy_score(reference, predicted),
        "ua": oracle.balanced_accuracy_score(reference, predicted),
        "macro_f1": oracle.f1_score(reference, predicted, average="macro", zero_division=0),
        "confusion": oracle.confusion_matrix(reference, predicted, labels=order).tolist(),
        "f1": oracle.f1_score(reference, predicted, labels=order, average=None, zero_division=0).tolist(),
    }
    if kind == "torch":
        reference, predicted = torch.as_tensor(reference), torch.as_tensor(predicted)
    found = summary(reference, predicted, labels=order)
    found["f1"] = list(found["f1"].values())
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, err_msg=name)


def test_the_summary_has_no_recall_for_a_class_without_reference():
    found = summary(REFERENCE, PREDICTED, labels=LABELS)
    assert found["recall"] == {"neu": 0.0, "ang": 0.5, "sad": 0.75, "hap": None}
    assert found["labels"] == LABELS


def test_names_against_numbers_are_an_error():
    with pytest.raises(ValueError, match="label 0 is not one of"):
        summary(["ang", "sad"], [0, 1], labels=LABELS)


def test_a_label_outside_of_the_given_order_is_named():
    with pytest.raises(ValueError, match=r"label 'angr' is not one of ang, sad. Did you mean 'ang'\?"):
        metrics.confusion_matrix(["ang"], ["angr"], labels=["ang", "sad"])
