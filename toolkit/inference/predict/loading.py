"""From a bundle on disk to a Model: the one place where prediction knows bundles."""

from pathlib import Path

from toolkit.inference.predict.model import Model


def load(bundle: str | Path, *, device: str | None = None) -> Model:
    """Read a bundle and make a Model of it.

    Args:
        bundle: a folder or .zip file written by `toolkit export`.
        device: cpu, cuda, cuda:1, ...; a GPU if there is one where not given.

    Raises:
        ToolkitError: if the bundle cannot be read, or there is no such device.
    """
    from toolkit.inference.bundle import read_bundle

    found = read_bundle(bundle)
    return Model(found.system, found.usage, device=device)
