"""Extractors that break the contract, each in one way, beside a good one; for the tests of toolkit.testing."""

import contextlib
import inspect
import socket
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from toolkit.contracts import Extractor, Seq


class GoodExtractor(Extractor):
    """Mean and mean magnitude of 160 samples, through something frozen, something scaled and a linear layer.

    Args:
        hop: samples of a frame.
    """

    channels = 3
    fits = True

    def __init__(self, *, hop: int = 160, sample_rate: int = 16_000):
        super().__init__()
        self.hop = hop
        self.front_end_args = {"front_end": "good", "hop": hop, "sample_rate": sample_rate}
        self.register_buffer("scale", torch.ones(2))
        self.frozen = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Dropout(0.5)).requires_grad_(False)
        nn.init.eye_(self.frozen[0].weight)
        self.output = nn.Linear(2, 3)
        self.train()

    def train(self, mode=True):
        super().train(mode)
        self.frozen.eval()
        return self

    def frame_count(self, samples):
        return max(1, samples // self.hop)

    @torch.no_grad()
    def features(self, wave):
        values = wave.zeroed().values
        values = functional.pad(values, (0, max(0, self.hop - values.shape[1])))
        frames = values.unfold(1, self.hop, self.hop)  # [batch, frames, hop]
        values = torch.stack([frames.mean(2), frames.abs().mean(2)], dim=2)
        return Seq(self.frozen(values), (wave.lengths // self.hop).clamp(min=1))

    def fit(self, features):
        self.scale.copy_(1 / torch.stack([seq.zeroed().values.std(dim=(0, 1)) for seq in features]).mean(0))

    def encode(self, features):
        return Seq(self.output(features.zeroed().values * self.scale), features.lengths)


class PositionalArgument(GoodExtractor):
    def __init__(self, hop: int = 160):
        super().__init__(hop=hop)


class UnexplainedArgument(GoodExtractor):
    def __init__(self, *, width: int = 3, **context):
        super().__init__(**context)


class WrongChannels(GoodExtractor):
    channels = 4


class FloatChannels(GoodExtractor):
    channels = 3.0


class RoundsUp(GoodExtractor):
    def frame_count(self, samples):
        return max(1, -(-samples // self.hop))


class SaysFull(GoodExtractor):
    def encode(self, features):
        output = super().encode(features)
        return Seq(output.values, output.lengths, full=True)


class NanFeatures(GoodExtractor):
    def features(self, wave):
        features = super().features(wave)
        return Seq(features.values - float("inf") * features.values, features.lengths)


class EncodesToTensor(GoodExtractor):
    def encode(self, features):
        return super().encode(features).values


class RandomFeatures(GoodExtractor):
    def features(self, wave):
        features = super().features(wave)
        return Seq(features.values + torch.rand(()), features.lengths)


class ReadsWholeWave(GoodExtractor):
    """Its top is the batch's, as torchaudio's top_db is."""

    def features(self, wave):
        features = super().features(wave)
        return Seq(features.values / wave.values.abs().max(), features.lengths)  # silence: 0 / 0


class AveragesBatch(GoodExtractor):
    def encode(self, features):
        output = super().encode(features)
        return Seq(output.values - output.values.mean(0, keepdim=True), output.lengths)


class ReadsWholeFeatures(GoodExtractor):
    def encode(self, features):
        output = super().encode(features)
        return Seq(output.values + features.values.mean((1, 2), keepdim=True), output.lengths)


class NoisyFeatures(GoodExtractor):
    def features(self, wave):
        features = super().features(wave)
        noise = torch.randn_like(features.values) if self.training else 0.0
        return Seq(features.values + noise, features.lengths)


class LearnsInFeatures(GoodExtractor):
    def features(self, wave):
        features = super().features(wave)
        return Seq(features.values * self.output.weight[0].detach(), features.lengths)


class DetachedParameter(GoodExtractor):
    def __init__(self, **args):
        super().__init__(**args)
        self.gain = nn.Parameter(torch.ones(3))

    def encode(self, features):
        output = super().encode(features)
        return Seq(output.values * self.gain.detach(), output.lengths)


class NanGradients(GoodExtractor):
    """NaN beyond the lengths is hidden from the output, and not from the gradients."""

    def encode(self, features):
        values = self.output(features.values * self.scale)
        return Seq(torch.where(features.mask[:, :, None], values, 0.0), features.lengths)


class ForgetsEval(GoodExtractor):
    def train(self, mode=True):
        return nn.Module.train(self, mode)


class ScaleIsNoState(GoodExtractor):
    def __init__(self, **args):
        super().__init__(**args)
        del self.scale
        self.scale = torch.ones(2)


class OtherHop(GoodExtractor):
    def portable_args(self):
        return {"hop": 2 * self.hop}


class AsksTheNetwork(GoodExtractor):
    """It goes on without an answer, as if nothing had been asked."""

    def __init__(self, **args):
        super().__init__(**args)
        with contextlib.suppress(OSError):
            socket.create_connection(("192.0.2.1", 9), timeout=0.01)  # nobody's address (RFC 5737)


class TensorInPortableArgs(GoodExtractor):
    def portable_args(self):
        return {"hop": torch.tensor(160)}


class ForgetsStandaloneArgs(GoodExtractor):
    standalone_args: Mapping[str, Any] = {"hop": 160}

    def portable_args(self):
        return {}


class TensorInArgs(GoodExtractor):
    def __init__(self, **args):
        super().__init__(**args)
        self.front_end_args = {"window": torch.ones(2)}


class RandomFrontEnd(GoodExtractor):
    """Its features depend on random weights that are not in front_end_args."""

    def __init__(self, **args):
        super().__init__(**args)
        nn.init.normal_(self.frozen[0].weight)


class ForgetsHop(GoodExtractor):
    """An argument that features depend on is not in front_end_args."""

    def __init__(self, **context):
        super().__init__(**context)
        self.front_end_args = {"front_end": "good"}

    __signature__ = inspect.signature(GoodExtractor)


class ForgetsOneChoice(GoodExtractor):
    """One of three choices is taken for another.

    Args:
        level: how the mean magnitude is written.
    """

    def __init__(self, *, level: Literal["linear", "root", "log"] = "linear"):
        super().__init__()
        self.level = level
        self.front_end_args = {"front_end": "good", "linear": level != "log"}

    def features(self, wave):
        features = super().features(wave)
        values = features.values.abs()
        return Seq({"linear": values, "root": values.sqrt(), "log": values.log1p()}[self.level], features.lengths)


class LogOfSilence(GoodExtractor):
    def features(self, wave):
        features = super().features(wave)
        return Seq(features.values.abs().log(), features.lengths)


class WritesIntoWave(GoodExtractor):
    def features(self, wave):
        wave.values.mul_(0.5).mul_(2.0).add_(1e-3).sub_(1e-3)
        wave.values[:, 0] = 0.0
        return super().features(wave)


class Float32Only(GoodExtractor):
    def encode(self, features):
        return Seq(super().encode(features).values @ torch.eye(3), features.lengths)

    def forward(self, wave):
        output = super().forward(wave)
        return Seq(output.values.sqrt() if output.values.dtype == torch.bfloat16 else output.values, output.lengths)


EXTRACTORS = {
    "arguments_are_documented": [PositionalArgument, UnexplainedArgument],
    "attributes_are_as_declared": [FloatChannels],
    "shapes_are_as_declared": [WrongChannels, RoundsUp, SaysFull, NanFeatures, EncodesToTensor],
    "garbage_changes_nothing": [ReadsWholeWave, ReadsWholeFeatures],
    "batch_equals_alone": [ReadsWholeWave, AveragesBatch, ReadsWholeFeatures],
    "features_learn_nothing": [LearnsInFeatures, NoisyFeatures, ForgetsEval],
    "gradients_reach_what_is_trained": [DetachedParameter, NanGradients],
    "evaluation_is_deterministic": [RandomFeatures, TensorInArgs],
    "state_survives_safetensors": [ScaleIsNoState],
    "portable_args_build_it_again": [OtherHop, AsksTheNetwork, TensorInPortableArgs, ForgetsStandaloneArgs],
    "front_end_args_identify_features": [RandomFrontEnd],
    "front_end_args_tell_arguments_apart": [ForgetsHop, ForgetsOneChoice],
    "silence_is_finite": [LogOfSilence],
    "input_is_left_alone": [WritesIntoWave],
    "runs_in_bfloat16": [Float32Only],
}
