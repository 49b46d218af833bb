"""Where the weights of a pre-trained encoder come from: a local folder, the hub's local cache or the hub.

An error is one line that says what to do. Folders are read without network.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from toolkit.errors import PluginError, RecipeError, one_line

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
PROBE_S = 5.0


def find_folder(source: str, revision: str | None = None, optional: Sequence[str] = ()) -> Path:
    """The folder that holds `source`: itself, the hub's local cache, or a fresh download.

    One of the `optional` files is fetched into a snapshot of the hub that has none of them, if the hub has it.
    """
    folder = Path(os.path.expanduser(source))
    if os.path.isdir(folder):
        if revision is not None:
            raise RecipeError(f"source {source!r} is a folder here, which has no revision {revision!r}: leave it out")
        return _checked(folder, source)
    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", source):
        raise RecipeError(
            f"source {source!r} is neither a folder here nor a hub name like 'facebook/wav2vec2-base-960h' "
            "(source: random needs no weights)"
        )
    folder = _cached(source, revision) or _download(source, revision)
    _complete(folder, source, optional)
    return folder


def _checked(folder: Path, source: str) -> Path:
    weights = f"weights ({' or '.join(WEIGHTS)}, or all files of its index)"
    found = {"config.json": os.path.isfile(folder / "config.json")}
    found[weights] = any(_has_weights(folder, name, source) for name in WEIGHTS)
    for meaning, is_there in found.items():
        if not is_there:
            raise PluginError(f"{source} has no {meaning}: a folder as written by save_pretrained() is needed")
    return folder


def _has_weights(folder: Path, name: str, source: str) -> bool:
    """Whether a folder holds the weights of this name: one file, or all files of an index."""
    if os.path.isfile(folder / name):
        return True
    parts = (read_json(folder / f"{name}.index.json", source) or {}).get("weight_map", {}).values()
    return bool(parts) and all(os.path.isfile(folder / part) for part in parts)


def _cached(source: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(source, "config.json", revision=revision)
    if not isinstance(config, str):
        return None
    try:
        return _checked(Path(config).parent, source)
    except PluginError:  # an incomplete download
        return None


def _download(source: str, revision: str | None) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, is_offline_mode, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    remedy = (
        f"on a machine with network run `hf download {source} --local-dir FOLDER`, copy FOLDER here and give "
        "--args.source FOLDER, or train from scratch, as the recipe speech/functionals does"
    )
    if is_offline_mode():
        raise PluginError(f"{source!r} is not in the hub's local cache and HF_HUB_OFFLINE is set; {remedy}")
    patterns = ["config.json", "preprocessor_config.json", "processor_config.json"]
    try:
        # snapshot_download tries for 23 s without a network: ask once before, without retries.
        get_hf_file_metadata(hf_hub_url(source, "config.json", revision=revision), timeout=_probe_s())
        for name in WEIGHTS:
            stem, ending = name.split(".")
            wanted = [*patterns, name, f"{name}.index.json", f"{stem}-*-of-*.{ending}"]  # not model.fp32-*
            folder = Path(snapshot_download(source, revision=revision, allow_patterns=wanted))
            if _has_weights(folder, name, source):
                break
    except HfHubHTTPError as error:
        raise PluginError(f"the hub refuses {source!r}: {one_line(error)}; check the name, or {remedy}") from error
    except Exception as error:  # the hub's client passes on whatever its HTTP library raises
        raise PluginError(
            f"{source!r} is not in the hub's local cache and cannot be fetched ({one_line(error)}); {remedy}"
        ) from error
    return _checked(folder, source)


def _probe_s() -> float:
    return float(os.environ.get("HF_HUB_ETAG_TIMEOUT") or PROBE_S)


def _complete(folder: Path, source: str, optional: Sequence[str]) -> None:
    """Fetch the first of the `optional` files that the hub has, unless there is one, or the hub cannot be asked."""
    import huggingface_hub as hub
    from huggingface_hub.errors import EntryNotFoundError

    if hub.is_offline_mode() or any(os.path.isfile(folder / name) for name in optional):
        return
    with suppress(Exception):  # as in _download
        for name in optional:
            if hub.try_to_load_from_cache(source, name, revision=folder.name) is not None:
                continue  # the cache knows that the hub has no such file
            with suppress(EntryNotFoundError):
                with suppress(EntryNotFoundError):  # the download notes it in the cache
                    hub.get_hf_file_metadata(hub.hf_hub_url(source, name, revision=folder.name), timeout=_probe_s())
                hub.hf_hub_download(source, name, revision=folder.name)
                return


def read_json(path: Path, source: str) -> dict | None:
    """The object in a JSON file of a checkpoint; None where the file is missing."""
    if not os.path.isfile(path):
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("not a JSON object")
    except ValueError as error:
        raise PluginError(f"{path.name} of {source} cannot be read: {one_line(error)}") from error
    return content


def named(source: str, revision: str | None) -> str:
    """The name under which a run records its weights."""
    return source if revision is None else f"{source}@{revision}"


def fingerprint(tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> str:
    """SHA-256 of tensors and of the configuration that uses them."""
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
