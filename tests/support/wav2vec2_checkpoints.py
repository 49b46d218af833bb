"""Tiny checkpoints of every architecture that the extractor wav2vec2 takes, for its tests."""

import torch
from transformers import (
    Data2VecAudioConfig,
    Data2VecAudioModel,
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

from toolkit_plugins.extractors.wav2vec2 import Wav2Vec2

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
GROUP, LAYER = {}, {"feat_extract_norm": "layer", "conv_bias": True}
STABLE = LAYER | {"do_stable_layer_norm": True}
CHECKPOINTS = {
    "wav2vec2-group": (Wav2Vec2Model, Wav2Vec2Config, GROUP),
    "wav2vec2-layer": (Wav2Vec2Model, Wav2Vec2Config, LAYER),
    "wav2vec2-stable": (Wav2Vec2Model, Wav2Vec2Config, STABLE),
    "hubert-group": (HubertModel, HubertConfig, GROUP),
    "hubert-stable": (HubertModel, HubertConfig, STABLE),
    "wavlm-group": (WavLMModel, WavLMConfig, GROUP),
    "wavlm-stable": (WavLMModel, WavLMConfig, STABLE),
    "data2vec": (Data2VecAudioModel, Data2VecAudioConfig, {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 5}),
}


def save_checkpoint(name, folder):
    """Write CHECKPOINTS[name] as save_pretrained() does, with weights far from their initial values."""
    cls, config, extra = CHECKPOINTS[name]
    torch.manual_seed(len(name))
    model = cls(config(**SMALL | extra))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return folder


def random_model(**args):
    return Wav2Vec2(source="random", config=SMALL | args.pop("config", {}), **args)
