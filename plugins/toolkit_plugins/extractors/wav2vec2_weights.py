"""Where a wav2vec2, HuBERT, WavLM or data2vec comes from: random, a local folder, the hub's local cache or the hub.

An error is one line that says what to do. Folders are read without network;
safetensors are preferred and pickles are read as weights only.
"""

import contextlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from toolkit.errors import PluginError, RecipeError, did_you_mean, one_line
from toolkit_plugins.extractors.encoder import needed_layers
from toolkit_plugins.extractors.sources import find_folder, named, read_json

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

ARCHITECTURES = ("wav2vec2", "hubert", "wavlm", "data2vec-audio")
MOST_CONVOLUTIONS = 32
PREPROCESSORS = ("preprocessor_config.json", "processor_config.json")  # the latter since transformers 5

logger = logging.getLogger("toolkit")


@dataclass(frozen=True)
class LoadedWeights:
    """A model and the facts about its weights."""

    model: nn.Module  # transformers' model of that architecture, float32, in train() mode
    pretrained: str | None  # the source of the weights, or None for random ones
    normalise: bool = True  # whether the weights need waveforms of zero mean and unit variance
    sample_rate: int | None = None  # what the weights were trained on, in Hz; None for random ones


def load(
    source: str,
    *,
    architecture: str,
    config: Mapping[str, Any],
    revision: str | None = None,
    layer: str | int = "last",
    normalize: bool | None = None,
) -> LoadedWeights:
    """Build the model that `source` names: "random", a folder, or a hub name "owner/model".

    Args: architecture: of a random model, one of `ARCHITECTURES`; config: values that replace those of the
        architecture's or the checkpoint's configuration; revision: branch, tag or commit on the hub; layer: the output,
        above which a random model is not built; normalize: what the recipe says, None if the checkpoint decides.
    Raises: RecipeError if the source or a configuration value cannot be used; PluginError if the weights cannot be
        found or read.
    """
    if source == "random":
        return LoadedWeights(_random(architecture, config, layer), pretrained=None)
    folder = find_folder(source, revision, PREPROCESSORS)
    if normalize is None and not any(os.path.isfile(folder / name) for name in PREPROCESSORS):
        taken = "waveforms of 16000 Hz are taken, scaled to unit variance unless `normalize` says otherwise"
        logger.warning("%s has no %s: %s", source, PREPROCESSORS[0], taken)
    settings = read_json(folder / PREPROCESSORS[0], source)
    if settings is None:
        settings = (read_json(folder / PREPROCESSORS[1], source) or {}).get("feature_extractor") or {}
    return LoadedWeights(
        _pretrained(folder, source, config),
        pretrained=named(source, revision),
        normalise=bool(settings.get("do_normalize", True)),
        sample_rate=int(settings.get("sampling_rate", 16_000)),
    )


def architecture_settings(config: "PreTrainedConfig") -> dict[str, Any]:
    """The settings that shape a model, without a checkpoint's names; `add_adapter` is never set here."""
    from transformers import PreTrainedConfig

    shared = {*PreTrainedConfig().to_dict(), "add_adapter"}
    known = set(type(config)().to_dict()) - shared
    return {name: value for name, value in config.to_dict().items() if name in known}


def _random(architecture: str, config: Mapping[str, Any], layer: str | int) -> nn.Module:
    from transformers import AutoModel

    settings = _configured(architecture, {}, config)
    count, settings.num_hidden_layers = settings.num_hidden_layers, needed_layers(settings.num_hidden_layers, layer)
    model = AutoModel.from_config(settings, attn_implementation=_attention(architecture))
    model.config.num_hidden_layers = count
    return model


def _pretrained(folder: Path, source: str, config: Mapping[str, Any]) -> nn.Module:
    from transformers import AutoModel

    stored = read_json(folder / "config.json", source) or {}
    settings = _configured(stored.get("model_type"), stored, config, source)
    try:
        with _quiet_transformers():
            model, info = AutoModel.from_pretrained(
                folder,
                config=settings,
                attn_implementation=_attention(settings.model_type),
                dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=False,
                weights_only=True,
                ignore_mismatched_sizes=True,  # reported below, in one line
                output_loading_info=True,
            )
    except Exception as error:  # truncated files raise errors of safetensors, zipfile, pickle or json
        raise PluginError(
            f"the weights of {source} cannot be read, the file may be truncated: {one_line(error)}"
        ) from error
    wrong = sorted(str(key[0] if isinstance(key, tuple) else key) for key in info["mismatched_keys"])
    if wrong:
        raise PluginError(f"the weights of {source} do not fit its configuration: {_some(wrong)}; check `config`")
    missing = sorted(info["missing_keys"])
    if len(missing) > len(model.state_dict()) // 2:
        raise PluginError(f"{source} holds no {settings.model_type} weights: {_some(missing)} and more are missing")
    if missing:
        logger.warning("%s lacks %s: random weights take their place", source, _some(missing))
    return model.train()


def _configured(
    model_type: str | None, stored: Mapping[str, Any], config: Mapping[str, Any], source: str = ""
) -> "PreTrainedConfig":
    """The transformers configuration of `model_type`, with `config` put over `stored`."""
    from transformers import AutoConfig

    if model_type not in ARCHITECTURES:
        raise RecipeError(
            f"{source or 'architecture'} is of model type {model_type!r}; wav2vec2 takes {', '.join(ARCHITECTURES)}"
        )
    known = set(AutoConfig.for_model(model_type).to_dict())
    for name in config:
        if name not in known or name in ("model_type", "add_adapter"):
            raise RecipeError(f"config: {model_type} has no setting {name!r}.{did_you_mean(name, known)}")
    foreign = ("model_type", "auto_map", "dtype", "torch_dtype")
    values = {k: v for k, v in stored.items() if not k.startswith("_") and k not in foreign} | dict(config)
    values["add_adapter"] = False  # it changes the frames; it belongs to translation models and is left out
    try:
        settings = AutoConfig.for_model(model_type, **values)
    except Exception as error:
        raise RecipeError(f"config of {source or model_type} cannot be used: {one_line(error)}") from error
    for name in ("conv_dim", "conv_kernel", "conv_stride"):
        sizes = list(getattr(settings, name))
        if not 1 <= len(sizes) <= MOST_CONVOLUTIONS or not all(type(size) is int and size >= 1 for size in sizes):
            needed = f"1 to {MOST_CONVOLUTIONS} whole numbers of at least 1 are needed"
            raise RecipeError(f"{source or 'config'}: {name} is {one_line(str(sizes))[:60]}; {needed}")
    if getattr(settings, "mask_time_length", 1) < 1:
        raise RecipeError(f"{source or 'config'}: mask_time_length is {settings.mask_time_length}; 1 is the least")
    if model_type == "data2vec-audio":  # always, although its configuration does not say so
        settings.feat_extract_norm, settings.do_stable_layer_norm = "layer", False
    if getattr(settings, "conv_pos_batch_norm", False):
        raise RecipeError(f"{source or 'config'}: conv_pos_batch_norm mixes rows of a batch and is not supported")
    return settings


def _attention(model_type: str) -> str:
    return "eager" if model_type == "wavlm" else "sdpa"  # transformers has no other for WavLM


@contextlib.contextmanager
def _quiet_transformers():
    """No progress bar and no table of keys: what matters is reported in one line."""
    from transformers.utils import logging as hf_logging

    level, bar = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity(logging.CRITICAL)
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)
        if bar:
            hf_logging.enable_progress_bar()


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
