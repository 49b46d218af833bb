"""A bundle's files in a folder or in one .zip: written whole or not at all; only those in `FILES` are ever read."""

import hashlib
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.errors import BundleError, did_you_mean, one_line
from toolkit.files import flush, replacing, require_file

if TYPE_CHECKING:
    from torch import Tensor

CONFIG = "config.json"
SEEN = "seen.json"  # hashes of what trained the system; bundles of version 0.1 have none
WEIGHTS = "model.safetensors"
CARD = "README.md"
ONNX = "model.onnx"  # optional
FILES = (CONFIG, CARD, WEIGHTS, SEEN, ONNX)


def write_files(target: Path, files: Mapping[str, bytes]) -> None:
    """Write files, name -> content, into a new folder, or one archive if its name ends in .zip; errors: BundleError."""
    with replacing(target, BundleError, "make room or choose another name", durable=True) as partial:
        if target.suffix.lower() == ".zip":
            with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
                for name, data in files.items():
                    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))  # the same content makes the same .zip
                    entry.external_attr = 0o644 << 16
                    archive.writestr(entry, data)
        else:
            partial.mkdir()
            for name, data in files.items():
                (partial / name).write_bytes(data)
                flush(partial / name)


def read_file(path: Path, name: str, *, sha256: str | None = None) -> bytes:
    """The content of a bundle's file; BundleError if it is missing or damaged, or has another SHA-256 than this."""
    run = path.parent if path.name == "results.json" else path
    if os.path.isfile(run / "results.json") or os.path.isfile(run / "recipe.yaml"):
        raise BundleError(f"{path} is a run, not a bundle. `toolkit export {run} BUNDLE` makes a bundle of it.")
    try:
        if os.path.isdir(path):
            _require(path, name, [p.name for p in path.iterdir()])
            data = require_file(path / name).read_bytes()
        elif os.path.exists(path):
            data = _from_zip(path, name)
        else:
            near = [p.name for p in path.parent.iterdir()] if os.path.isdir(path.parent) else []
            raise BundleError(f"No bundle at {path}.{did_you_mean(path.name, near)}")
    except BundleError:
        raise
    except Exception as error:  # those of `zipfile` share no base class
        raise BundleError(f"{path}: {name} is damaged ({one_line(error)}): get the bundle again.") from None
    if sha256 not in (None, hashlib.sha256(data).hexdigest()):
        raise BundleError(f"{path}: {name} is not the file that was exported (another SHA-256): get the bundle again.")
    return data


def read_weights(path: Path, *, sha256: str) -> dict[str, "Tensor"]:
    """The weights by name, on the CPU; errors as for `read_file`."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(read_file(path, WEIGHTS, sha256=sha256))
    except (SafetensorError, KeyError) as error:  # KeyError: a type that torch does not have
        raise BundleError(f"{path}: {WEIGHTS} is damaged ({one_line(error)}): get the bundle again.") from None


def _from_zip(path: Path, name: str) -> bytes:
    try:
        archive = zipfile.ZipFile(require_file(path))
    except zipfile.BadZipFile as error:
        hint = f" Give its folder, {path.parent}." if os.path.isfile(path.parent / CONFIG) else ""
        raise BundleError(f"{path} is not a bundle: a folder or a .zip is needed ({one_line(error)}).{hint}") from None
    with archive:
        _require(path, name, archive.namelist())
        if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:  # it may hold far more than its size shows
            raise BundleError(f"{path}: {name} is compressed, and a bundle's files are not. Give the folder, unpacked.")
        return archive.read(name)


def _require(path: Path, name: str, names: Sequence[str]) -> None:
    if name not in names:
        content = one_line(", ".join(sorted(names)[:6]) or "nothing")
        raise BundleError(f"{path} is not a bundle: it has no {name}; it holds {content}. `toolkit export` makes one.")
