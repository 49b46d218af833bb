"""Values of a column as classes, and shuffled ones for a control."""

import random
from collections import Counter

import pytest
import torch

from toolkit.corpus.targets import Target, shuffled_value
from toolkit.errors import CorpusError

IDS = [f"Ses{n:05d}" for n in range(4000)]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "Utterance 'a' has no accent, .* column 'accent', or use a system with `source: predicted`"),
        ("sout", r"accent 'sout' is not one of north, south\. Did you mean 'south'\?"),
    ],
)
def test_a_value_that_is_missing_or_unknown_is_refused(value, message):
    with pytest.raises(CorpusError, match=message):
        Target("accent", ("north", "south")).known_index(value, "a")


def test_shuffled_values_follow_the_marginal():
    counts = Counter(shuffled_value(key, 1, {"F": 1, "M": 3}) for key in IDS)
    assert counts["F"] / len(IDS) == pytest.approx(0.25, abs=0.02)  # 3 standard errors


def test_shuffled_values_are_the_same_again_and_touch_no_generator():
    states = torch.get_rng_state(), random.getstate()
    first = [shuffled_value(key, 7, {"F": 1, "M": 1}) for key in IDS[:50]]
    assert first == [shuffled_value(key, 7, {"M": 1, "F": 1}) for key in IDS[:50]]
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()


def test_shuffled_values_are_fixed_across_machines_and_versions():
    drawn = "".join(shuffled_value(key, 1, {"F": 1, "M": 1}) for key in IDS[:12])
    assert drawn == "MFFFMFFMFFMF"  # the first bits of the digests


@pytest.mark.parametrize("other", [{"seed": 2}, {"covariate": "accent"}])
def test_another_seed_or_covariate_draws_independently(other):
    def draw(seed=1, covariate="gender"):
        return [shuffled_value(key, seed, {"a": 1, "b": 1}, covariate) for key in IDS]

    same = sum(x == y for x, y in zip(draw(), draw(**other), strict=True)) / len(IDS)
    assert same == pytest.approx(0.5, abs=0.03)


def test_a_value_that_never_occurs_is_never_drawn():
    assert {shuffled_value(key, 1, {"F": 0, "M": 2, "X": 0}) for key in IDS[:200]} == {"M"}
