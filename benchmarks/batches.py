"""Padding of whole utterances with IEMOCAP's lengths: in batches by length, and in as many shuffled batches."""

import torch
from measuring import Result
from speech import durations

from toolkit.data.batches import LengthBatches

UTTERANCES, EPOCHS = 5531, 5
LIMITS_S = (50, 100, 200, 400)


def padding(batches: list[list[int]], seconds: list[float]) -> float:
    """The share of padding in the batches."""
    return 1 - sum(seconds) / sum(len(batch) * max(seconds[i] for i in batch) for batch in batches)


def main() -> None:
    """The mean over some epochs, for some limits."""
    seconds, rows = durations(UTTERANCES).tolist(), []
    for limit in LIMITS_S:
        by_length = LengthBatches(seconds, limit=limit, most=UTTERANCES)
        generator = torch.Generator().manual_seed(0)
        ours = [padding(by_length.drawn(generator), seconds) for _ in range(EPOCHS)]
        orders = [torch.randperm(UTTERANCES, generator=generator).tensor_split(len(by_length)) for _ in range(EPOCHS)]
        theirs = [padding([batch.tolist() for batch in order], seconds) for order in orders]
        rows.append(
            {
                "batch_seconds": str(limit),
                "batches": str(len(by_length)),
                "padding, %": f"{100 * sum(ours) / EPOCHS:.1f}",
                "opponent's padding, %": f"{100 * sum(theirs) / EPOCHS:.1f}",
            }
        )
    Result(
        "batches.py",
        f"Padding in batches of {UTTERANCES} whole utterances with IEMOCAP's lengths, mean of {EPOCHS} epochs.",
        "Opponent: the same number of shuffled batches, in benchmarks/batches.py.",
        rows,
    ).report()


if __name__ == "__main__":
    main()
