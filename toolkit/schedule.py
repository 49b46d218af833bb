"""Learning rate against optimizer step: a factor on every group's own rate, so that their ratios stay."""

import math


def learning_rate_factor(step: int, *, schedule: str, warmup_steps: int, total_steps: int) -> float:
    """The factor for optimizer step `step` (from 0): a linear warm-up, then constant or a decay towards 0.

    >>> [learning_rate_factor(s, schedule="linear", warmup_steps=2, total_steps=6) for s in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    >>> round(learning_rate_factor(4, schedule="cosine", warmup_steps=2, total_steps=6), 6)
    0.5
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    progress = min((step - warmup_steps) / max(total_steps - warmup_steps, 1), 1.0)
    return 1.0 - progress if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))
