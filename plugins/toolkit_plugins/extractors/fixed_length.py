"""Pads or cuts to the one length that some extractors take; the core's input has it and stays unchanged."""

from torch.nn import functional

from toolkit.contracts import Seq
from toolkit.errors import ShapeError


def cut_wave(wave: Seq, samples: int) -> Seq:
    """Pad with zeros, which then count as real, or cut.

    Args: wave [batch, time].
    Returns: [batch, samples], every length `samples`.
    """
    values = wave.zeroed().values[:, :samples]
    values = functional.pad(values, (0, samples - values.shape[1]))
    return Seq(values, wave.lengths.new_full(wave.lengths.shape, samples), full=True)


def cut_frames(features: Seq, frames: int, *, silence: float) -> Seq:
    """Values beyond a row's length become `silence`, which counts as real; frames beyond `frames` are cut off.

    Args: features [batch, time, channels].
    Returns: [batch, frames, channels], every length `frames`.
    Raises: ShapeError if time is less than `frames`.
    """
    steps = features.values.shape[1]
    if steps < frames:
        raise ShapeError(f"{steps} frames were given; this extractor takes {frames} and `features` makes no fewer")
    values = features.values
    if not features.full:
        values = values.masked_fill(~features.mask[:, :, None], silence)
    return Seq(values[:, :frames], features.lengths.new_full(features.lengths.shape, frames), full=True)
