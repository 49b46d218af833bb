"""Small systems of first-party plugins, between them all levels, fusions, heads and covariates, for ONNX."""

from dataclasses import replace

import torch
from broken_extractors import GoodExtractor
from broken_fusions import GoodFusion
from broken_heads import GoodHead
from wav2vec2_checkpoints import STABLE, random_model

from toolkit.contracts import LevelShape, Seq
from toolkit.inference.bundle.config import Usage
from toolkit.model.system import PredictedCovariate, System
from toolkit.recipe.schema import AudioSpec
from toolkit.statistics.confidence import UNFITTED
from toolkit_plugins.extractors.functionals import Functionals
from toolkit_plugins.extractors.linear_series import DLinear, NLinear
from toolkit_plugins.extractors.mfcc import Mfcc
from toolkit_plugins.extractors.spectrogram import Spectrogram
from toolkit_plugins.extractors.whisper import Whisper
from toolkit_plugins.fusions.attention import Attention
from toolkit_plugins.fusions.coattention import CoAttention
from toolkit_plugins.fusions.concat import Concat
from toolkit_plugins.heads.linear import Linear
from toolkit_plugins.heads.mlp import Mlp

RATE, SEGMENT, TEMPERATURE = 16_000, 4_800, 1.5
LABELS = ("angry", "happy", "neutral")
MELS = {"n_mfcc": 13, "n_fft": 512, "n_mels": 20}
FIXED = {"segment_samples": SEGMENT}
# Each takes the exporter seconds where the time axis is free.
ONE_LAYER = {"num_hidden_layers": 1, "conv_dim": [8] * 2, "conv_kernel": [10, 32], "conv_stride": [10, 32]}
ONE_BLOCK = {"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16}


def linear(**args):
    return Linear(**args)


def mlp(**args):
    return Mlp(**args, hidden=[8])


def concat(pooling, **args):
    return lambda **context: Concat(**context, **FIXED, dim=8, pooling=pooling, **args)


SYSTEMS = {
    "wav2vec2 base and functionals, attention, gender given": {
        "levels": {
            "functionals": lambda: Functionals(n_mels=20, n_mfcc=13),
            "wav2vec2": lambda: random_model(config=ONE_LAYER, preemphasis=0.97),
        },
        "fusion": lambda **context: Attention(**context, dim=8, hidden=8, heads=2, statistics=True, layer_norm=True),
        "head": mlp,
        "gender": "given",
    },
    "wav2vec2 large, weighted, and batch norm, concat, gender predicted": {
        "levels": {
            "mfcc": lambda: Mfcc(**MELS, convolutions=[8], convolution_norm="batch", hidden=4),
            "wav2vec2": lambda: random_model(
                config=STABLE | ONE_LAYER, layer="weighted", normalize=True, freeze_convolutions=True
            ),
        },
        "fusion": concat("statistics", layer_norm=True),
        "head": linear,
        "gender": "predicted",
    },
    "a spectrogram weighted by mfcc and whisper, coattention": {
        "levels": {
            "spectrogram": lambda: Spectrogram(**FIXED, weights="random", image_size=[64, 127], pool=[1, 2], bins=100),
            "mfcc": lambda: Mfcc(
                **MELS, deltas=True, normalize="standardize", convolutions=[8], convolution_stride=2, hidden=4, layers=1
            ),
            "whisper": lambda: Whisper(source="random", config=ONE_BLOCK, layer="all", normalize=True),
        },
        "fusion": lambda **context: CoAttention(**context, **FIXED, dim=8, values="spectrogram"),
        "head": mlp,
        "gender": "given",
    },
    "nlinear and dlinear, flattened": {
        "levels": {
            "nlinear": lambda: NLinear(**FIXED, n_fft=512, n_mels=20, steps=6, hidden=4),
            "dlinear": lambda: DLinear(**FIXED, **MELS, series="mfcc", steps=6, individual=True),
        },
        "fusion": concat("flatten"),
        "head": mlp,
        "gender": "none",
    },
    "attention pooling of framed samples and a batch-normalised spectrogram": {
        "levels": {
            "nlinear": lambda: NLinear(**FIXED, series="frames", steps=6, normalize="none"),
            "spectrogram": lambda: Spectrogram(
                **FIXED, weights="random", normalization="batch", image_size=[127, 100], pool=[2, 2]
            ),
        },
        "fusion": concat("attention"),
        "head": linear,
        "gender": "predicted",
    },
}


def build(levels, fusion, head, gender="none"):
    """A System in eval() mode with scalers that were fitted and weights far from their initial values."""
    torch.manual_seed(0)
    levels = {name: make() for name, make in levels.items()}
    wave = Seq(0.1 * torch.randn(4, SEGMENT), torch.full((4,), SEGMENT))
    for level in levels.values():
        if level.fits:
            level.fit([level.features(wave)])
    shapes = {name: LevelShape(level.channels, level.frame_count(SEGMENT)) for name, level in levels.items()}
    first = next(iter(levels))
    predicted = {"gender": PredictedCovariate(first, channels=levels[first].channels, classes=2)}
    fusion = fusion(levels=shapes, covariates={} if gender == "none" else {"gender": 2})
    system = System(
        levels,
        fusion,
        {"emotion": head(size=fusion.sizes["fused"], classes=len(LABELS))},
        classes={"emotion": len(LABELS)},
        head_inputs={"emotion": ["fused"]},
        given_covariates={"gender": 2} if gender == "given" else {},
        predicted_covariates=predicted if gender == "predicted" else {},
    )
    with torch.no_grad():
        for part in (system.fusion, system.heads, system.covariates):
            for parameter in part.parameters():
                parameter.add_(torch.randn_like(parameter) / parameter.shape[-1] ** 0.5)
        for name, buffer in system.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.add_(torch.rand_like(buffer))
    return system.eval()


def small(level=GoodExtractor, fusion=GoodFusion, head=GoodHead, **more_levels):
    """A system of the contract suite's plugins, which any exporter knows; one of them may be another."""
    return build({**more_levels, "level": level}, fusion, head)


def usage(system):
    """How such a system is used."""
    covariates = dict.fromkeys(system.given_covariates, ("F", "M"))
    return Usage(
        LABELS,
        AudioSpec(sample_rate=RATE, segment_seconds=SEGMENT / RATE),
        "emotion",
        covariates=covariates,
        stamps=("random weights",),
        confidence=replace(UNFITTED, temperature=TEMPERATURE),
    )
