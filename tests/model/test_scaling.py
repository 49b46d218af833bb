import pytest
import torch

from toolkit.contracts import Seq
from toolkit.model.scaling import Standardize


def batches(*, rows: int = 12, seed: int = 0) -> tuple[list[Seq], torch.Tensor]:
    """Batches of three rows with garbage beyond the lengths, and all real frames in one tensor."""
    generator = torch.Generator().manual_seed(seed)
    out, real = [], []
    for _ in range(rows // 3):
        values = 1_000 + 3 * torch.randn(3, 10, 4, generator=generator)
        lengths = torch.randint(1, 11, (3,), generator=generator)
        real += [values[i, : lengths[i]].clone() for i in range(3)]
        for i in range(3):
            values[i, lengths[i] :] = float("nan")
        out.append(Seq(values, lengths))
    return out, torch.cat(real).double()


def test_standardize_finds_mean_and_deviation_of_the_real_frames_batch_by_batch():
    scaler = Standardize(4)
    features, real = batches()
    scaler.fit(iter(features))
    torch.testing.assert_close(scaler.mean, real.mean(dim=0).float())
    torch.testing.assert_close(scaler.deviation, real.std(dim=0, correction=0).float())
    scaled = scaler(real.float())
    torch.testing.assert_close(scaled.mean(dim=0), torch.zeros(4), rtol=0, atol=1e-3)


def test_standardize_by_hand():
    scaler = Standardize(2)
    scaler.fit([Seq(torch.tensor([[[1.0, 5.0], [3.0, 5.0]]]), torch.tensor([2]))])
    assert scaler.mean.tolist() == [2, 5]
    assert scaler.deviation.tolist() == [1, 1]  # the second channel is constant: it is centred only
    assert scaler(torch.tensor([4.0, 7.0])).tolist() == [2, 2]


def test_a_constant_channel_stays_finite_whatever_its_value():
    scaler = Standardize(1)
    scaler.fit([Seq(torch.full((2, 50, 1), value), torch.tensor([50, 30])) for value in (-79.9, -79.9, -79.9)])
    assert scaler(torch.tensor([-79.9])).abs() < 1e-4
    assert scaler(torch.tensor([-78.9])).item() == pytest.approx(1, abs=1e-4)


def test_a_channel_that_is_zero_but_for_rounding_is_centred_only_whatever_the_scale_of_the_others():
    for unit in (1e-4, 1.0, 1e4):
        rows = unit * torch.tensor([[[0.0, 1.0, -2.0], [1e-11, 3.0, 2.0]]])
        scaler = Standardize(3)
        scaler.fit([Seq(rows, torch.tensor([2]))])
        torch.testing.assert_close(scaler.deviation, torch.tensor([1.0, unit, 2 * unit]))


def test_an_empty_training_part_is_an_error():
    with pytest.raises(ValueError, match="the training part is empty"):
        Standardize(4).fit([])
