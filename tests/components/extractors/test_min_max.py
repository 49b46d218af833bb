import pytest
import torch

from toolkit.contracts import Seq
from toolkit_plugins.extractors.min_max import MinMax

NAN = float("nan")


def test_min_max_maps_the_real_frames_of_all_batches_to_zero_and_one():
    scaler = MinMax(2)
    first = Seq(torch.tensor([[[1.0, 5.0], [3.0, 6.0]], [[2.0, 9.0], [NAN, NAN]]]), torch.tensor([2, 1]))
    second = Seq(torch.tensor([[[7.0, 4.0], [99.0, -99.0]]]), torch.tensor([1]))
    scaler.fit(iter([first, second]))
    assert scaler.low.tolist() == [1, 4] and scaler.high.tolist() == [7, 9]
    assert scaler(torch.tensor([[4.0, 4.0], [7.0, 14.0]])).tolist() == [[0.5, 0], [1, 2]]


def test_min_max_by_hand():
    scaler = MinMax(2, low=-80, high=0)
    assert scaler(torch.tensor([-80.0, -20.0])).tolist() == [0, 0.75]
    scaler.fit([Seq(torch.tensor([[[1.0, 5.0], [3.0, 5.0], [99.0, 99.0]]]), torch.tensor([2]))])
    assert scaler(torch.tensor([[2.0, 5.0], [4.0, 6.0]])).tolist() == [[0.5, 0], [1.5, 1]]


def test_an_empty_training_part_is_an_error():
    with pytest.raises(ValueError, match="the training part is empty"):
        MinMax(4).fit([])
