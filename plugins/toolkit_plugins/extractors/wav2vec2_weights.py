"""Where a wav2vec2, HuBERT or WavLM comes from: random, a local folder, the hub's local cache or the hub.

Whatever is wrong with the source is one line that says what to do. Folders are read without network;
safetensors are preferred and pickles are read as weights only.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from toolkit.errors import PluginError, RecipeError, did_you_mean, one_line

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

ARCHITECTURES = ("wav2vec2", "hubert", "wavlm")
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
PROBE_S = 5.0

logger = logging.getLogger("toolkit")


@dataclass(frozen=True)
class LoadedWeights:
    """A model and what is known of its weights.

    Args:
        model: transformers' Wav2Vec2Model, HubertModel or WavLMModel, float32, in train() mode.
        pretrained: the source of the weights, or None for random ones.
        normalise: whether the weights want waveforms of zero mean and unit variance.
        sample_rate: what the weights were trained on, in Hz; None for random ones.
    """

    model: nn.Module
    pretrained: str | None
    normalise: bool = True
    sample_rate: int | None = None


def load(source: str, *, architecture: str, config: Mapping[str, Any], revision: str | None = None) -> LoadedWeights:
    """Build the model that `source` names.

    Args:
        source: "random", a folder, or a hub name "owner/model".
        architecture: of a random model, one of `ARCHITECTURES`.
        config: values that replace those of the architecture's or the checkpoint's configuration.
        revision: branch, tag or commit on the hub.

    Raises:
        RecipeError: if the source or a configuration value is none that can be used.
        PluginError: if the weights cannot be found or read.
    """
    if source == "random":
        return LoadedWeights(_random(architecture, config), pretrained=None)
    folder = find_folder(source, revision)
    settings = read_json(folder / "preprocessor_config.json", source)
    if settings is None:  # transformers 5 writes a processor into one file
        settings = (read_json(folder / "processor_config.json", source) or {}).get("feature_extractor") or {}
    return LoadedWeights(
        _pretrained(folder, source, config),
        pretrained=source if revision is None else f"{source}@{revision}",
        normalise=bool(settings.get("do_normalize", True)),
        sample_rate=int(settings.get("sampling_rate", 16_000)),
    )


def fingerprint(tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> str:
    """SHA-256 of tensors and of the configuration that says what is done with them."""
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def architecture_settings(config: "PreTrainedConfig") -> dict[str, Any]:
    """The settings that an architecture has of its own: all that shapes its model, and no name of a checkpoint.

    `add_adapter` is left out: it is never set here.
    """
    from transformers import PreTrainedConfig

    shared = {*PreTrainedConfig().to_dict(), "add_adapter"}
    known = set(type(config)().to_dict()) - shared
    return {name: value for name, value in config.to_dict().items() if name in known}


def find_folder(source: str, revision: str | None = None) -> Path:
    """The folder that holds `source`: itself, the hub's local cache, or a fresh download."""
    folder = Path(os.path.expanduser(source))
    if os.path.isdir(folder):
        return _checked(folder, source)
    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", source):
        raise RecipeError(
            f"source {source!r} is neither a folder here nor a hub name like 'facebook/wav2vec2-base-960h' "
            "(source: random needs no weights)"
        )
    cached = _cached(source, revision)
    return cached if cached is not None else _download(source, revision)


def _checked(folder: Path, source: str) -> Path:
    for names, meaning in (
        (("config.json",), "config.json"),
        (WEIGHTS, "weights (" + " or ".join(WEIGHTS[::2]) + ")"),
    ):
        if not any(os.path.isfile(folder / name) for name in names):
            raise PluginError(f"{source} has no {meaning}: a folder as written by save_pretrained() is needed")
    return folder


def _cached(source: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(source, "config.json", revision=revision)
    if not isinstance(config, str):
        return None
    try:
        return _checked(Path(config).parent, source)
    except PluginError:  # a part of it
        return None


def _download(source: str, revision: str | None) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, is_offline_mode, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    remedy = (
        f"on a machine with network run `hf download {source} --local-dir DIR`, copy DIR here and set "
        "source: DIR (source: random needs no weights)"
    )
    if is_offline_mode():
        raise PluginError(f"{source!r} is not in the hub's local cache and HF_HUB_OFFLINE is set; {remedy}")
    patterns = ["config.json", "preprocessor_config.json", "processor_config.json"]
    try:
        # snapshot_download tries for 23 s without a network: ask once before, without retries.
        timeout = float(os.environ.get("HF_HUB_ETAG_TIMEOUT") or PROBE_S)
        get_hf_file_metadata(hf_hub_url(source, "config.json", revision=revision), timeout=timeout)
        for weights in ("model*.safetensors*", "pytorch_model*.bin*"):
            folder = Path(snapshot_download(source, revision=revision, allow_patterns=[*patterns, weights]))
            if any(os.path.isfile(folder / name) for name in WEIGHTS):
                break
    except HfHubHTTPError as error:
        raise PluginError(f"the hub refuses {source!r}: {one_line(error)}; check the name, or {remedy}") from error
    except Exception as error:  # the hub's client passes on whatever its HTTP library raises
        raise PluginError(
            f"{source!r} is not in the hub's local cache and cannot be fetched ({one_line(error)}); {remedy}"
        ) from error
    return _checked(folder, source)


def read_json(path: Path, source: str) -> dict | None:
    """The object in a JSON file of a checkpoint; None where the file is missing."""
    if not os.path.isfile(path):
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("no JSON object")
    except ValueError as error:
        raise PluginError(f"{path.name} of {source} cannot be read: {one_line(error)}") from error
    return content


def _random(architecture: str, config: Mapping[str, Any]) -> nn.Module:
    from transformers import AutoModel

    return AutoModel.from_config(_configured(architecture, {}, config), attn_implementation=_attention(architecture))


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
    except Exception as error:  # truncated files raise what safetensors, zipfile, pickle or json please
        raise PluginError(
            f"the weights of {source} cannot be read, the file may be truncated: {one_line(error)}"
        ) from error
    wrong = sorted(str(key[0] if isinstance(key, tuple) else key) for key in info["mismatched_keys"])
    if wrong:
        raise PluginError(f"the weights of {source} do not fit its configuration: {_some(wrong)}; is it `config`?")
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
    if getattr(settings, "conv_pos_batch_norm", False):
        raise RecipeError(f"{source or 'config'}: conv_pos_batch_norm mixes rows of a batch and is not supported")
    return settings


def _attention(model_type: str) -> str:
    return "eager" if model_type == "wavlm" else "sdpa"  # transformers has no other for WavLM


@contextlib.contextmanager
def _quiet_transformers():
    """No progress bar and no table of keys: what matters of it is said in one line."""
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
