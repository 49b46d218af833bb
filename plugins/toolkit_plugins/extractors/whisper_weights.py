"""Whisper's encoder from random weights, a local folder, the hub's local cache or the hub; the decoder is left out."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from toolkit.errors import PluginError, RecipeError, did_you_mean, one_line
from toolkit_plugins.extractors import whisper_steps as steps
from toolkit_plugins.extractors.encoder import needed_layers
from toolkit_plugins.extractors.sources import find_folder, named, read_json

# What shapes the encoder; the rest of a WhisperConfig is about the decoder and about text.
SHAPE = (
    "num_mel_bins",
    "d_model",
    "encoder_layers",
    "encoder_attention_heads",
    "encoder_ffn_dim",
    "activation_function",
    "max_source_positions",
    "scale_embedding",
)
PREFIXES = ("model.encoder.", "encoder.", "")  # of the model with its head, the model, the encoder alone


@dataclass(frozen=True)
class LoadedEncoder:
    """Whisper's encoder and the filters of its front end."""

    model: nn.Module  # transformers' WhisperEncoder, float32
    pretrained: str | None  # the source of the weights, or None for random ones
    filters: Tensor  # mel filters, [n_fft // 2 + 1, bands]


def load(
    source: str,
    *,
    config: Mapping[str, Any],
    dropout: float,
    revision: str | None = None,
    layer: str | int = "last",
) -> LoadedEncoder:
    """Build the encoder that `source` names: "random", a folder, or a hub name "owner/model".

    Args: config: values that replace those of the checkpoint's config.json or of transformers' defaults; dropout: for
        hidden states, activations and attention; revision: branch, tag or commit on the hub; layer: the output,
        above which a random encoder is not built.
    Raises: RecipeError if the source or a value of `config` cannot be used; PluginError if the weights cannot be found
        or read.
    """
    if source == "random":
        return _built({}, config, dropout, "config", None, layer)
    folder = find_folder(source, revision)
    stored = read_json(folder / "config.json", source) or {}
    if stored.get("model_type") != "whisper":
        raise RecipeError(
            f"{source} is of model type {stored.get('model_type')!r}; the extractor whisper takes whisper"
        )
    loaded = _built(stored, config, dropout, source, named(source, revision))
    _fill(loaded.model, _encoder_tensors(folder, source), source)
    return loaded


def encoder_settings(config: Any) -> dict[str, Any]:
    """The values of a WhisperConfig that shape the encoder."""
    return {name: getattr(config, name) for name in SHAPE}


def _built(
    stored: Mapping[str, Any],
    config: Mapping[str, Any],
    dropout: float,
    where: str,
    pretrained: str | None,
    layer: str | int = "last",
) -> LoadedEncoder:
    from transformers import WhisperConfig
    from transformers.audio_utils import mel_filter_bank
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    for name in config:
        if name not in SHAPE:
            raise RecipeError(f"config: Whisper's encoder has no setting {name!r}.{did_you_mean(name, SHAPE)}")
    values = {name: stored[name] for name in SHAPE if name in stored} | dict(config)
    values |= dict.fromkeys(("dropout", "attention_dropout", "activation_dropout"), dropout)
    try:
        settings = WhisperConfig(**values, attn_implementation="sdpa")
        count, settings.encoder_layers = settings.encoder_layers, needed_layers(settings.encoder_layers, layer)
        model = WhisperEncoder(settings).float()
        model.config.encoder_layers = count
    except Exception as error:  # transformers raises errors of many kinds
        raise RecipeError(f"{where}: Whisper's encoder cannot be built from {values}: {one_line(error)}") from error
    filters = mel_filter_bank(steps.N_FFT // 2 + 1, settings.num_mel_bins, 0.0, 8000.0, steps.RATE, "slaney", "slaney")
    return LoadedEncoder(model, pretrained, torch.from_numpy(filters).float())


def _encoder_tensors(folder: Path, source: str) -> dict[str, Tensor]:
    """The encoder's tensors by the encoder's own names; the decoder's are not read."""
    from safetensors import safe_open

    tensors: dict[str, Tensor] = {}
    try:
        for file in _files(folder):
            if file.suffix == ".bin":
                found = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
                tensors |= {name: found[name] for name in found if not _decoders(name)}
                continue
            with safe_open(file, framework="pt") as stored:
                tensors |= {name: stored.get_tensor(name) for name in stored.keys() if not _decoders(name)}  # noqa: SIM118 - not a dict
    except Exception as error:  # truncated files raise errors of safetensors, zipfile or pickle
        raise PluginError(
            f"the weights of {source} cannot be read, the file may be truncated: {one_line(error)}"
        ) from error
    prefix = next(prefix for prefix in PREFIXES if prefix == "" or any(name.startswith(prefix) for name in tensors))
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _files(folder: Path) -> list[Path]:
    for single in ("model.safetensors", "pytorch_model.bin"):
        if os.path.isfile(folder / single):
            return [folder / single]
        if os.path.isfile(folder / f"{single}.index.json"):
            index = json.loads((folder / f"{single}.index.json").read_text(encoding="utf-8"))
            return sorted({folder / file for name, file in index["weight_map"].items() if not _decoders(name)})
    return []


def _decoders(name: str) -> bool:
    return name.startswith(("model.decoder.", "decoder.", "proj_out."))


def _fill(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    expected = model.state_dict()
    if missing := sorted(set(expected) - set(tensors)):
        names = ", ".join(missing[:3])
        raise PluginError(f"{source} lacks weights of Whisper's encoder: {names} ({len(missing)} in all)")
    if wrong := sorted(name for name, value in expected.items() if tensors[name].shape != value.shape):
        names = ", ".join(wrong[:3])
        raise PluginError(f"the weights of {source} do not fit its configuration: {names}; check `config`")
    model.load_state_dict({name: tensors[name].float() for name in expected})
