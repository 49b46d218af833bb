"""AlexNet's convolutions with ImageNet weights, weights from a file, or random ones."""

import contextlib
import hashlib
import logging
import os
import pickle
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import AlexNet_Weights, alexnet

from toolkit.errors import did_you_mean

CONNECT_SECONDS = 10
SMALLEST_IMAGE = 63  # pixels per side; below it nothing is left for the last pooling
CHANNELS = 256

logger = logging.getLogger("toolkit")


def build(weights: str, *, normalization: str = "none") -> tuple[nn.Sequential, str | None]:
    """AlexNet's `features`: images [batch, 3, height, width] -> [batch, 256, height', width'].

    Args: weights "imagenet", "random" (He's initialisation) or the path of a state dict; normalization
        "batch" puts BatchNorm2d after every convolution.
    Returns: the layers, and the name of their pre-trained weights, None for random ones.
    Raises: ValueError where a file is missing, damaged or holds other weights.
    """
    layers = _empty()
    pretrained = None
    if weights == "imagenet":
        state = _download()
        if state is not None:
            _load(layers, state, "torchvision's ImageNet weights")
            pretrained = f"torchvision {AlexNet_Weights.IMAGENET1K_V1}"
    elif weights != "random":
        path = Path(os.path.expanduser(weights))
        _load(layers, _read(path, weights), str(path))
        pretrained = f"{path.name} sha256:{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    if normalization == "batch":
        layers = _with_batch_norm(layers)
    return layers, pretrained


def map_size(image_size: list[int]) -> tuple[int, int]:
    """Height and width of the last feature map.

    >>> map_size([256, 384])
    (7, 11)
    """
    height, width = image_size
    return _side(height), _side(width)


def _side(pixels: int) -> int:
    for kernel, stride, padding in ((11, 4, 2), (3, 2, 0), (3, 2, 0), (3, 2, 0)):
        pixels = (pixels + 2 * padding - kernel) // stride + 1
    return pixels


def _empty() -> nn.Sequential:
    """The layers with He's random weights (2015); the classifier, 94 % of AlexNet, is never allocated."""
    with torch.device("meta"):
        layers = alexnet().features
    layers = layers.to_empty(device="cpu")
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return layers


def _with_batch_norm(layers: nn.Sequential) -> nn.Sequential:
    out = []
    for layer in layers:
        out.append(layer)
        if isinstance(layer, nn.Conv2d):
            out.append(nn.BatchNorm2d(layer.out_channels))
    return nn.Sequential(*out)


def _download() -> dict[str, Tensor] | None:
    """The weights from torchvision's cache or server; None, after a warning, where it cannot be reached."""
    weights = AlexNet_Weights.IMAGENET1K_V1
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    if os.path.exists(cached):
        return _read(cached, str(cached))
    try:
        # torch writes "Downloading ..." to standard output, which belongs to the commands' results.
        with _timeout(CONNECT_SECONDS), contextlib.redirect_stdout(sys.stderr):
            return weights.get_state_dict(progress=True, check_hash=True, weights_only=True, map_location="cpu")
    except (OSError, RuntimeError) as error:  # unreachable, a read-only cache or a wrong hash
        logger.warning(
            "AlexNet's ImageNet weights cannot be fetched from %s (%s): its weights are RANDOM. "
            "Put the file at %s or name one with `weights: FILE`; `weights: random` says that this is intended.",
            weights.url,
            error,
            cached,
        )
        return None


@contextlib.contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _read(path: Path, given: str) -> dict[str, Tensor]:
    if not os.path.isfile(path):
        near = did_you_mean(given, ("imagenet", "random"))
        raise ValueError(f"weights is {given!r}; it has to be imagenet, random or an existing file of weights.{near}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError, SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"weights: {path} is not a readable state dict (.pth or .safetensors): {reason}; replace it"
        ) from error


def _load(layers: nn.Sequential, state: dict[str, Tensor], source: str) -> None:
    """Copy the weights, named as in torchvision's AlexNet ("features.0.weight") or without "features."."""
    if not isinstance(state, dict):
        raise ValueError(f"weights: {source} holds a {type(state).__name__}, not a state dict")
    for name, parameter in layers.state_dict().items():
        found = state.get(f"features.{name}", state.get(name))
        if not isinstance(found, Tensor):
            raise ValueError(f"weights: {source} has no 'features.{name}': not AlexNet's weights")
        if found.shape != parameter.shape:
            raise ValueError(
                f"weights: 'features.{name}' in {source} is {list(found.shape)}, AlexNet's is {list(parameter.shape)}"
            )
        if not bool(torch.isfinite(found).all()):
            raise ValueError(f"weights: 'features.{name}' in {source} holds values that are not finite")
        parameter.copy_(found)
