"""The forward pass of wav2vec2, HuBERT, WavLM and data2vec in steps, each exact under padding.

transformers' models are used as they are, module by module: their own `forward` cannot stop between two
layers, and on "group" checkpoints (the base models) its first normalisation's statistics include the
padding. Here a row of a padded batch comes out as if it had been alone.

Source: wav2vec 2.0 (Baevski et al., 2020), HuBERT (Hsu et al., 2021), WavLM (Chen et al., 2022), data2vec (Baevski et
al., ICML 2022).
"""

import warnings
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from toolkit.contracts import Seq

VERSION = 2  # part of every cache key: raise it when the numbers below change

Count = TypeVar("Count", int, Tensor)


def conv_frames(samples: Count, kernels: Sequence[int], strides: Sequence[int]) -> Count:
    """The number of frames after a stack of convolutions without padding (int or tensor).

    >>> conv_frames(48_000, (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2))
    149
    """
    for kernel, stride in zip(kernels, strides, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples


def receptive_field(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """The fewest samples that make one frame.

    >>> receptive_field((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2))
    400
    """
    samples = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples


def lengthen(wave: Seq, minimum: int) -> Seq:
    """Count zeros as real up to `minimum` samples, so that the shortest row makes a frame.

    Args: wave [batch, samples] with zeros beyond the lengths.
    """
    missing = minimum - wave.values.shape[1]
    values = F.pad(wave.values, (0, missing)) if missing > 0 else wave.values
    return Seq(values, wave.lengths.clamp(min=minimum), full=wave.full)


def masked_group_norm(x: Tensor, lengths: Tensor, norm: nn.GroupNorm) -> Tensor:
    """GroupNorm (Wu and He, 2018) with the statistics of each row's real frames alone.

    Args: x [batch, channels, time], finite everywhere; lengths [batch] in frames, at least 1.
    Returns: [batch, channels, time], float32; equal to `norm(x)` where every row is full.
    """
    batch, channels, time = x.shape
    x = x.float()
    real = torch.arange(time, device=x.device) < lengths[:, None]
    groups, members = norm.num_groups, channels // norm.num_groups
    weight = (real / (lengths[:, None] * members))[:, None]  # [batch, 1, time], a row sums to 1 / members

    def mean(values: Tensor) -> Tensor:
        frames = (values * weight).sum(2)  # [batch, channels]; no matmul: that would be bf16 under autocast
        return frames.view(batch, groups, members).sum(2).repeat_interleave(members, 1)[:, :, None]

    centred = x - mean(x)
    scale = (mean(centred.square()) + norm.eps).rsqrt()
    if not norm.affine:
        return centred * scale
    return torch.addcmul(norm.bias[:, None], centred, scale * norm.weight[:, None])


def convolve(model: nn.Module, wave: Seq) -> Seq:
    """The convolutional encoder.

    Args: wave [batch, samples], as `lengthen` returns it.
    Returns: [batch, frames, conv_dim]; lengths in frames.
    """
    first, *others = model.feature_extractor.conv_layers
    kernels, strides = model.config.conv_kernel, model.config.conv_stride
    x = wave.values[:, None]  # [batch, 1, samples]
    if model.config.feat_extract_norm == "group":
        x = first.conv(x)  # [batch, conv_dim, frames of the first layer]
        args = (x, conv_frames(wave.lengths, kernels[:1], strides[:1]), first.layer_norm)
        if wave.full:
            x = first.layer_norm(x)
        elif torch.is_grad_enabled() and x.requires_grad:
            # The model's widest activation (1.3 GB for 64 x 3 s): keep x, not the copies made on the way.
            x = checkpoint(masked_group_norm, *args, use_reentrant=False, preserve_rng_state=False)
        else:
            x = masked_group_norm(*args)
        x = first.activation(x)
    else:
        x = first(x)
    for layer in others:
        x = layer(x)
    return Seq(x.transpose(1, 2), conv_frames(wave.lengths, kernels, strides), full=wave.full)


def embed(model: nn.Module, frames: Seq, spans: Tensor | None = None) -> Seq:
    """Projection and positional convolution: what enters the first transformer layer.

    Args: frames as `convolve` returns them; spans [batch, frames], True where SpecAugment hides a frame.
    Returns: [batch, frames, hidden_size].
    """
    hidden = _first(model.feature_projection(frames.values))
    if spans is not None:
        hidden = torch.where(spans[:, :, None], model.masked_spec_embed.to(hidden.dtype), hidden)

    def zeroed(values: Tensor) -> Tensor:  # positional convolutions read beyond the lengths
        return Seq(values, frames.lengths, full=frames.full).zeroed().values

    positions = hidden = zeroed(hidden)
    if model.config.model_type == "data2vec-audio":  # several convolutions, [batch, hidden_size, frames]
        for layer in model.encoder.pos_conv_embed.layers:
            positions = zeroed(layer(positions.mT).mT)
    else:
        positions = model.encoder.pos_conv_embed(positions)
    hidden = hidden + positions
    if not model.config.do_stable_layer_norm:
        hidden = model.encoder.layer_norm(hidden)
    return Seq(model.encoder.dropout(hidden), frames.lengths, full=frames.full)


def transform(
    model: nn.Module, hidden: Seq, start: int, stop: int, *, layerdrop: float = 0.0, recompute: bool = False
) -> list[Tensor]:
    """The transformer layers start, ..., stop - 1.

    The last of all layers is followed by the final normalisation of models that have one ("stable layer
    norm"), so the states are those of the SUPERB benchmark (Yang et al., 2021). In train() mode a layer is
    skipped with probability `layerdrop` (Fan et al., 2020); `recompute` computes activations anew in the
    backward pass (Chen et al., 2016).

    Returns: the state after each layer, [batch, frames, hidden_size].
    """
    layers, config = model.encoder.layers, model.config
    x, states = hidden.values, []
    if start == stop:
        return states
    if config.model_type == "wavlm":
        positions = layers[0].attention.compute_bias(x.shape[1], x.shape[1])  # [heads, frames, frames]
        # wavlm multiplies the bias of each row by a gate
        context = {"attention_mask": hidden.mask, "position_bias": positions.repeat(x.shape[0], 1, 1)}
    else:
        # without a mask the attention has faster kernels
        context = {"attention_mask": None if hidden.full else hidden.mask[:, None, None, :]}
    for index in range(start, stop):
        skipped = model.training and layerdrop > 0 and bool(torch.rand([]) < layerdrop)
        if not skipped and recompute and model.training and torch.is_grad_enabled():
            x = checkpoint(_call, layers[index], x, context, use_reentrant=False)
        elif not skipped:
            x = _call(layers[index], x, context)
        if index + 1 == len(layers) and config.do_stable_layer_norm:
            x = model.encoder.layer_norm(x)
        states.append(x)
    return states


def _call(layer: nn.Module, x: Tensor, context: dict) -> Tensor:
    if "position_bias" not in context:
        return _first(layer(x, **context))
    with warnings.catch_warnings():
        # WavLM gives torch a boolean padding mask and a float position bias.
        warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask and attn_mask")
        return _first(layer(x, **context))


def _first(output: Tensor | tuple) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


def spec_augment_spans(lengths: Tensor, *, frames: int, probability: float, span: int, at_least: int) -> Tensor:
    """Which frames SpecAugment hides (Park et al., 2019; drawn as in wav2vec 2.0).

    Each row gets about `probability * length / span` spans, but `at_least` that many, inside its real frames;
    they may overlap. Rows shorter than a span get none.

    Args: lengths [batch] in frames; frames: the length of the time axis; span: frames of one span.
    Returns: [batch, frames], True where a frame is hidden.
    """
    most = max(int(probability * frames / span + 1), at_least)
    draws = torch.rand(len(lengths), 1 + most).to(lengths.device, non_blocking=True)  # on the CPU: alike on any
    wanted = (probability * lengths / span + draws[:, 0]).long().clamp(min=at_least)
    count = torch.minimum(wanted, lengths // span)  # [batch]
    room = (lengths - span + 1).clamp(min=1)
    starts = (draws[:, 1:] * room[:, None]).long()[:, :, None]  # [batch, spans, 1]
    steps = torch.arange(frames, device=lengths.device)
    hidden = (steps >= starts) & (steps < starts + span)  # [batch, spans, frames]
    drawn = torch.arange(most, device=lengths.device) < count[:, None]
    return (hidden & drawn[:, :, None]).any(1)
