"""Audio classification with deep learning from swappable parts, speech emotion recognition first.

Importing this package is light: it holds what a plugin's declaration needs and nothing that imports torch.
"""

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.hookspecs import PluginSpec, hookimpl

__version__ = version("audio-classification-toolkit")

__all__ = ["PluginSpec", "__version__", "hookimpl", "load"]

if TYPE_CHECKING:
    from toolkit.inference.predict.model import Model


def load(bundle: str | Path, *, device: str | None = None) -> "Model":
    """Load a trained system from a bundle; this imports torch.

    Args:
        bundle: a folder or .zip file written by `toolkit export`.
        device: cpu, cuda, cuda:1, ...; by default a GPU if there is one.

    Returns: a `toolkit.inference.predict.model.Model`: `predict`, `predict_many`, `embed`.
    Raises: ToolkitError if the bundle cannot be read, or there is no such device.
    """
    from toolkit.inference.bundle import read_bundle
    from toolkit.inference.predict.model import Model

    found = read_bundle(bundle)
    return Model(found.system, found.usage, device=device, seen=found.seen)
