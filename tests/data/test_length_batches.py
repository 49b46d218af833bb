"""Batches by length: little padding, never above the limit, the same number for every draw."""

import math
from itertools import chain

import numpy as np
import pytest
import torch

from toolkit.data.batches import LengthBatches

RATE = 16_000


def iemocap_lengths() -> list[int]:
    """Samples of utterances: log-normal with mean 4.55 s and median 3.58 s, cut at 34.1 s."""
    deviation = math.sqrt(2 * math.log(4.55 / 3.58))
    seconds = np.random.default_rng(1).lognormal(math.log(3.58), deviation, 5531).clip(0.5, 34.1)
    assert seconds.mean() == pytest.approx(4.55, abs=0.1) and np.median(seconds) == pytest.approx(3.58, abs=0.1)
    return (seconds * RATE).astype(int).tolist()


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def held(batch: list[int], lengths: list[int]) -> int:
    return len(batch) * max(lengths[i] for i in batch)


def padding(batches: list[list[int]], lengths: list[int]) -> float:
    return 1 - sum(lengths) / sum(held(batch, lengths) for batch in batches)


@pytest.mark.parametrize("seconds", [50, 200, 600])
def test_utterances_with_iemocaps_lengths_have_less_than_a_tenth_of_padding(seconds):
    lengths = iemocap_lengths()
    batches = LengthBatches(lengths, limit=seconds * RATE, most=10_000)
    for seed in range(5):
        drawn = batches.drawn(generator(seed))
        assert padding(drawn, lengths) < 0.1
        assert sorted(chain.from_iterable(drawn)) == list(range(len(lengths)))
        assert max(held(batch, lengths) for batch in drawn) <= seconds * RATE
        assert len(drawn) == len(batches)
    shuffled = torch.randperm(len(lengths), generator=generator(0)).split(32)
    assert padding([batch.tolist() for batch in shuffled], lengths) > 0.5  # what shuffling alone gives


@pytest.mark.parametrize("seed", range(20))
def test_no_draw_is_above_the_limit_or_changes_the_number_of_batches(seed):
    lengths = torch.randint(1, 100, (57,), generator=generator(seed)).tolist()
    batches = LengthBatches(lengths, limit=100, most=7, reach=1.5)
    for again in range(5):
        drawn = batches.drawn(generator(again))
        assert len(drawn) == len(batches) and sorted(chain.from_iterable(drawn)) == list(range(57))
        assert max(held(batch, lengths) for batch in drawn) <= 100 and max(map(len, drawn)) <= 7


def test_neighbours_and_the_order_of_batches_change_with_the_generator_alone():
    lengths = iemocap_lengths()[:300]
    batches = LengthBatches(lengths, limit=100 * RATE, most=64)
    first, again, other = (batches.drawn(generator(seed)) for seed in (1, 1, 2))
    assert first == again
    members = [{frozenset(batch) for batch in drawn} for drawn in (first, other)]
    assert len(members[0] & members[1]) < len(batches) / 2
    means = [np.mean([lengths[i] for i in batch]) for batch in first]
    assert means != sorted(means)


def test_in_order_nothing_is_drawn():
    assert LengthBatches([5, 1, 3, 2], limit=6, most=2, reach=1.0).in_order() == [[1], [3, 2], [0]]
