import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from toolkit.statistics.metrics import accuracies_of, difference_by_speaker, pooled_accuracies, speaker_confusions

CLASSES = ["ang", "sad", "neu"]


def draw(seed, *, utterances=200, right=0.6):
    """Speakers, reference and predicted labels; 3F has no "neu"."""
    generator = np.random.default_rng(seed)
    speakers = generator.choice(["1M", "1F", "3F"], utterances, p=[0.6, 0.3, 0.1])
    reference = generator.choice(CLASSES, utterances, p=[0.2, 0.3, 0.5])
    reference[(speakers == "3F") & (reference == "neu")] = "sad"
    predicted = np.where(generator.random(utterances) < right, reference, generator.choice(CLASSES, utterances))
    return speakers, reference, predicted


def stacked(confusions):
    """[speakers, classes, classes]."""
    return np.stack([*confusions.values()])


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true:UserWarning")
@pytest.mark.parametrize("seed", range(3))
def test_pooled_and_by_speaker_they_are_scikit_learns(seed):
    speakers, reference, predicted = draw(seed)
    found = speaker_confusions(speakers, reference, predicted, classes=CLASSES)
    wa, ua = accuracy_score(reference, predicted), balanced_accuracy_score(reference, predicted)
    pooled = pooled_accuracies(stacked(found))
    assert (pooled.wa, pooled.ua, pooled.n) == (pytest.approx(wa), pytest.approx(ua), 200)
    for metric, oracle in (("wa", accuracy_score), ("ua", balanced_accuracy_score)):
        expected = [oracle(reference[speakers == s], predicted[speakers == s]) for s in found]
        assert [getattr(of_speaker, metric) for of_speaker in accuracies_of(found).values()] == pytest.approx(expected)


def test_speakers_come_in_the_order_of_their_first_utterance():
    found = speaker_confusions(["2M", "1F", "2M"], ["ang"] * 3, ["ang", "sad", "neu"], classes=CLASSES)
    assert list(found) == ["2M", "1F"]
    assert stacked(found)[:, 0].tolist() == [[1, 0, 1], [0, 1, 0]]


@pytest.mark.parametrize("metric", ["wa", "ua"])
def test_shares_add_up_to_the_pooled_difference(metric):
    speakers, reference, first = draw(2)
    second = np.where(np.arange(200) % 5 == 0, reference, first)
    a, b = (stacked(speaker_confusions(speakers, reference, p, classes=CLASSES)) for p in (first, second))
    difference = getattr(pooled_accuracies(b), metric) - getattr(pooled_accuracies(a), metric)
    shares = difference_by_speaker(a, b, metric)
    assert shares.shape == (3,)
    assert shares.sum() == pytest.approx(difference)


@pytest.mark.parametrize("metric", ["wa", "ua"])
def test_a_speaker_whose_answers_are_swapped_has_the_opposite_share(metric):
    speakers, reference, first = draw(2)
    second = np.where(np.arange(200) % 5 == 0, reference, first)
    a, b = (stacked(speaker_confusions(speakers, reference, p, classes=CLASSES)) for p in (first, second))
    expected = difference_by_speaker(a, b, metric) * [1, -1, 1]
    a[1], b[1] = b[1].copy(), a[1].copy()
    assert difference_by_speaker(a, b, metric).tolist() == pytest.approx(expected.tolist())


def test_a_share_by_hand():
    """The first speaker gains 1 of 2 "ang", of 4 in all; the second loses 1 of 5 "sad"; UA halves each."""
    a = np.array([[[1, 1], [0, 0]], [[2, 0], [0, 5]]])
    b = np.array([[[2, 0], [0, 0]], [[2, 0], [1, 4]]])
    assert difference_by_speaker(a, b, "wa").tolist() == pytest.approx([1 / 9, -1 / 9])
    assert difference_by_speaker(a, b, "ua").tolist() == pytest.approx([1 / 8, -1 / 10])


def test_arguments_of_different_lengths_and_unknown_labels_are_an_error():
    with pytest.raises(ValueError, match="argument 2 is longer"):
        speaker_confusions(["1M"], ["ang", "sad"], ["ang", "sad"], classes=CLASSES)
    with pytest.raises(ValueError, match="label 'hap' is not one of ang, sad, neu"):
        speaker_confusions(["1M"], ["hap"], ["ang"], classes=CLASSES)
