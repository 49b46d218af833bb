import numpy as np
import pytest

from toolkit.errors import ShapeError
from toolkit.statistics import metrics
from toolkit.statistics.confusions import Accuracies
from toolkit.statistics.grouping import by_group, duration_thirds


def test_every_group_has_the_accuracies_of_its_own_utterances():
    generator = np.random.default_rng(0)
    reference, predicted = generator.choice(["ang", "sad", "neu"], (2, 90))
    groups = generator.choice(["F", "M", ""], 90)
    found = by_group(reference, predicted, groups.tolist())
    assert list(found) == list(dict.fromkeys(groups.tolist()))
    for group, accuracies in found.items():
        own = groups == group
        expected = [m(reference[own], predicted[own]) for m in (metrics.weighted_accuracy, metrics.unweighted_accuracy)]
        assert [accuracies.wa, accuracies.ua] == expected
        assert accuracies.n == own.sum()


def test_ua_of_a_group_is_over_the_classes_it_has():
    found = by_group(["ang", "sad", "sad", "sad"], ["ang", "sad", "ang", "ang"], ["F", "M", "F", "F"])
    assert found == {"F": Accuracies(wa=1 / 3, ua=0.5, n=3), "M": Accuracies(wa=1.0, ua=1.0, n=1)}


def test_each_utterance_needs_a_group():
    with pytest.raises(ShapeError, match="one group for each utterance is needed, not 1 for 2"):
        by_group(["ang", "sad"], ["ang", "sad"], ["F"])
    with pytest.raises(ShapeError, match="no utterance to score"):
        by_group([], [], [])


def test_thirds_hold_a_third_each_and_name_their_bounds_in_seconds():
    seconds = np.random.default_rng(0).permutation(np.arange(1, 301) / 10)
    found = duration_thirds(seconds)
    names = np.array(found.names)
    assert [(names == name).sum() for name in ("short", "middle", "long")] == [100, 100, 100]
    assert seconds[names == "short"].max() <= found.bounds_s[0] < seconds[names == "middle"].min()
    assert seconds[names == "middle"].max() <= found.bounds_s[1] < seconds[names == "long"].min()


def test_utterances_of_one_duration_stay_together():
    assert set(duration_thirds([3.0] * 9).names) == {"short"}
    assert duration_thirds([1.0, 1.0, 1.0, 2.0]).names == ("short", "short", "short", "long")


@pytest.mark.parametrize("seconds", [[], [[1.0]], [1.0, 0.0], [1.0, float("nan")]])
def test_what_is_no_duration_is_an_error(seconds):
    with pytest.raises(ShapeError, match="duration"):
        duration_thirds(seconds)
