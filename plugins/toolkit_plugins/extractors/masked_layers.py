"""Layers whose result for a row does not depend on the padding after it."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from toolkit.contracts import Seq
from toolkit_plugins.extractors.onnx_lstm import onnx_lstm


class FrameNorm(nn.LayerNorm):
    """LayerNorm over the channels of each frame, independent of other frames and rows."""

    def forward(self, frames: Seq) -> Tensor:
        """[batch, time, channels] -> the same shape."""
        return super().forward(frames.values)


class MaskedBatchNorm(nn.BatchNorm1d):
    """BatchNorm whose training statistics are those of the real frames alone; in eval() mode rows are independent."""

    def forward(self, frames: Seq) -> Tensor:
        """[batch, time, channels] -> the same shape, zeros beyond the lengths."""
        values, mask = frames.zeroed().values, frames.mask[:, :, None]
        if not self.training or (frames.full and mask.numel() > 1):
            out = super().forward(values.flatten(0, 1)).view_as(values)
            return Seq(out, frames.lengths, full=frames.full).zeroed().values
        real, count = values.float(), mask.sum()  # on the device: choosing frames by the mask would wait for it
        several = count > 1  # a single frame has no deviation
        mean = (real.sum((0, 1)) / count).where(several, self.running_mean)
        centred = (real - mean).masked_fill(~mask, 0)
        variance = (centred.square().sum((0, 1)) / count).where(several, self.running_var)
        scale = self.weight * (variance + self.eps).rsqrt()
        with torch.no_grad():
            self.num_batches_tracked += several
            self.running_mean.lerp_(mean, self.momentum * several)
            self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), self.momentum * several)
        return torch.addcmul(self.bias, centred, scale).masked_fill(~mask, 0).to(values.dtype)


NORMS = {"layer": FrameNorm, "batch": MaskedBatchNorm}


class MaskedConvolutions(nn.Module):
    """A stack of convolutions along time: Conv1d, normalisation, ReLU, dropout.

    Frames beyond a row's length are zeros before each convolution, as they are for a row alone, and no
    normalisation sees them.

    Args: channels: of the input; sizes: channels of each layer, in order, empty to return the input; kernel: frames a
        layer sees, odd; stride: of each layer, n frames become ceil(n / stride); norm: layer (over the channels of each
        frame) or batch (over the real frames of a training batch); dropout: after each layer.
    """

    def __init__(
        self,
        channels: int,
        sizes: list[int],
        *,
        kernel: int = 5,
        stride: int = 1,
        norm: str = "layer",
        dropout: float = 0.0,
    ):
        super().__init__()
        self.stride = stride
        self.layers = nn.ModuleList()
        self.norms = nn.ModuleList()
        for size in sizes:
            self.layers.append(nn.Conv1d(channels, size, kernel, stride=stride, padding=kernel // 2))
            self.norms.append(NORMS[norm](size))
            channels = size
        self.channels = channels
        self.dropout = nn.Dropout(dropout)

    def frame_count(self, frames: int) -> int:
        """The number of frames out for `frames` in."""
        for _ in self.layers:
            frames = -(-frames // self.stride)
        return frames

    def forward(self, frames: Seq) -> Seq:
        """[batch, time, channels] -> [batch, time', self.channels]."""
        for layer, norm in zip(self.layers, self.norms, strict=True):
            values = layer(frames.zeroed().values.transpose(1, 2)).transpose(1, 2)
            lengths = torch.div(frames.lengths + self.stride - 1, self.stride, rounding_mode="floor")
            values = torch.relu(norm(Seq(values, lengths, full=frames.full)))
            frames = Seq(self.dropout(values), lengths, full=frames.full)
        return frames


class BiLstm(nn.Module):
    """A bidirectional LSTM whose backward direction starts at each row's own last frame.

    Each layer is an LSTM by itself: cuDNN's dropout between layers has its own random state, which torch neither
    seeds nor saves, and it waits for the device.

    Args: channels: of the input; hidden: units of each direction, 2 * hidden channels come out; layers: their
        number; dropout: between them (none with one layer).
    """

    def __init__(self, channels: int, *, hidden: int, layers: int, dropout: float):
        super().__init__()
        self.channels = 2 * hidden
        sizes = [channels, *[2 * hidden] * (layers - 1)]
        self.layers = nn.ModuleList(nn.LSTM(size, hidden, batch_first=True, bidirectional=True) for size in sizes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, frames: Seq) -> Seq:
        """[batch, time, channels] -> [batch, time, 2 * hidden]."""
        if torch.onnx.is_in_onnx_export():
            return onnx_lstm(self.layers, frames)
        steps = frames.values.shape[1]
        lengths = None if frames.full else frames.lengths.cpu()  # packing needs them there and waits for a GPU
        if lengths is None or bool((lengths == steps).all()):
            return Seq(self._run(frames.values), frames.lengths, full=frames.full)
        packed = pack_padded_sequence(frames.zeroed().values, lengths, batch_first=True, enforce_sorted=False)
        values: Tensor = pad_packed_sequence(self._run(packed), batch_first=True, total_length=steps)[0]
        return Seq(values, frames.lengths)

    def _run(self, frames: Tensor | PackedSequence) -> Tensor | PackedSequence:
        """Run the layers; in float32 on processors where oneDNN has no bfloat16 LSTM (without AVX-512)."""
        data = frames if isinstance(frames, Tensor) else frames.data
        if data.device.type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported():
            return self._stacked(frames)
        with torch.autocast("cpu", enabled=False):
            return self._stacked(frames.float())

    def _stacked(self, frames: Tensor | PackedSequence) -> Tensor | PackedSequence:
        first, *others = self.layers
        frames = first(frames)[0]
        for layer in others:
            if isinstance(frames, Tensor):
                frames = self.dropout(frames)
            else:
                frames = frames._replace(data=self.dropout(frames.data))
            frames = layer(frames)[0]
        return frames
