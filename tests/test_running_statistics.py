"""Running statistics that all ranks share."""

from pathlib import Path

import torch
from several_ranks import on_ranks
from torch import nn


def average(folder: Path) -> None:
    """Rank 0 has seen rows around 0, rank 1 rows around 10; a layer in eval() mode has statistics of its own."""
    from toolkit.distributed import average_statistics, rank
    from toolkit.training.launch import together

    with together():
        moving, fixed = nn.BatchNorm1d(2, momentum=1.0), nn.BatchNorm1d(2).eval()
        fixed.running_mean.fill_(float(rank()))
        moving(torch.tensor([[-1.0, 0.0], [1.0, 2.0]]) + 10 * rank())
        average_statistics(nn.ModuleList([moving, fixed]))
        torch.save([moving.running_mean, moving.running_var, fixed.running_mean], folder / f"{rank()}.pt")


def test_running_statistics_are_averaged_over_the_ranks(tmp_path):
    assert on_ranks(average, tmp_path) == [0, 0]
    for rank in (0, 1):
        mean, variance, fixed = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert mean.tolist() == [5.0, 6.0]  # of 0 and 10, of 1 and 11
        assert variance.tolist() == [2.0, 2.0]
        assert fixed.tolist() == [float(rank)] * 2
