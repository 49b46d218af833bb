"""A bidirectional LSTM as ONNX's operator, for export: packed sequences cannot be exported.

The operator takes the rows' lengths, so that the backward direction starts at each row's own last frame. Traced from
torch, an LSTM would be unrolled and its time axis fixed to the example's.

Source: ONNX's operator LSTM, version 14.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from toolkit.contracts import Seq


def onnx_lstm(layers: Iterable[nn.LSTM], frames: Seq) -> Seq:
    """The result of the packed layers in eval() mode; only within torch.onnx.export().

    Args: layers: each of one layer, bidirectional, with biases; frames [batch, time, channels].
    Returns: [batch, time, 2 * hidden], zeros beyond the lengths.
    """
    x = frames.zeroed().values.transpose(0, 1)  # [time, batch, channels]
    lengths = frames.lengths.to(torch.int32)
    for layer in layers:
        forward, backward = layer.all_weights
        inputs, hidden, *biases = (torch.stack([_gates(a), _gates(b)]) for a, b in zip(forward, backward, strict=True))
        y = torch.onnx.ops.symbolic(
            "LSTM",
            (x, inputs, hidden, torch.cat(biases, dim=1), lengths),
            {"direction": "bidirectional", "hidden_size": layer.hidden_size},
            dtype=x.dtype,
            shape=(x.shape[0], 2, x.shape[1], layer.hidden_size),
            version=14,
        )
        x = y.transpose(1, 2).flatten(2)  # [time, batch, 2 * hidden]
    return Seq(x.transpose(0, 1), frames.lengths)


def _gates(weight: Tensor) -> Tensor:
    """Rows in ONNX's order (input, output, forget, cell) from torch's (input, forget, cell, output)."""
    enter, forget, cell, leave = weight.chunk(4)
    return torch.cat([enter, leave, forget, cell])
