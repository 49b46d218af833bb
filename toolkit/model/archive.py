"""A bundle's files in a folder or in one .zip: written whole or not at all, read without trusting names or sizes.

Only the files in `LARGEST` are read, and nothing is unpacked to the disk. Entries of a .zip must be stored, not
compressed, so that an archive cannot hold more than its size shows.
"""

import os
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from toolkit.errors import BundleError, did_you_mean, one_line
from toolkit.files import flush, kind_unless_file, replacing, resolved

CONFIG = "config.json"
SEEN = "seen.json"  # hashes of what trained the system; bundles of version 0.1 have none
WEIGHTS = "model.safetensors"
CARD = "README.md"
ONNX = "model.onnx"  # optional
LARGEST = {CONFIG: 4 << 20, CARD: 4 << 20, WEIGHTS: 16 << 30, ONNX: 2 << 30, SEEN: 64 << 20}  # bytes
_DATE = (1980, 1, 1, 0, 0, 0)  # of every entry, so that the same content makes the same .zip
_OF_RUN = ("results.json", "recipe.yaml")
_ENCRYPTED = 1
_LARGE = 64 << 20  # bytes
_DAMAGE = (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OverflowError)
_REMEDY = "`toolkit export RUN BUNDLE` makes bundles"


def write_files(target: Path, files: Mapping[str, bytes]) -> None:
    """Write files, name -> content, into a new folder, or into one archive if the target ends in .zip.

    Raises: BundleError if the target exists or cannot be written; nothing is left behind.
    """
    with replacing(target, BundleError, "make room or choose another name", durable=True) as partial:
        if target.suffix.lower() == ".zip":
            with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
                for name, data in files.items():
                    entry = zipfile.ZipInfo(name, _DATE)
                    entry.external_attr = 0o644 << 16
                    archive.writestr(entry, data)
        else:
            partial.mkdir()
            for name, data in files.items():
                (partial / name).write_bytes(data)
                flush(partial / name)
        refuse_existing(target)


def refuse_existing(target: Path) -> None:
    """Raise BundleError if the target exists, whatever it is."""
    if os.path.lexists(target):
        raise BundleError(f"{target} exists already, and is left as it is: choose another name or move it away.")


@contextmanager
def open_file(path: Path, name: str) -> Iterator[tuple[BinaryIO, int]]:
    """Open one file of a bundle, by its name.

    Yields: the file and its size in bytes; a ValueError raised while reading it is reported as damage.
    Raises: BundleError if the bundle or the file is missing, or the file is damaged, not plain or above `LARGEST`.
    """
    if name not in LARGEST:
        raise BundleError(f"{CONFIG} lists {one_line(name)[:80]!r} in `files`, which no bundle has.")
    try:
        if path.name == _OF_RUN[0] or any(os.path.isfile(path / name) for name in _OF_RUN):
            run = path.parent if path.name == _OF_RUN[0] else path
            raise BundleError(f"{path} is a run, not a bundle. `toolkit export {run} BUNDLE` makes a bundle of it.")
        opened = _open_in_folder if os.path.isdir(path) else _open_in_zip if os.path.isfile(path) else None
        near = [] if opened or not os.path.isdir(path.parent) else [p.name for p in path.parent.iterdir()]
    except OSError as error:  # a name that is too long, a folder without permission
        raise BundleError(f"{path} cannot be read: {error.strerror}.") from error
    if opened is None:
        kind = kind_unless_file(path) if os.path.exists(path) else None
        problem = f"{path} is {kind}, not a bundle" if kind else f"No bundle at {path}"
        raise BundleError(f"{problem}.{did_you_mean(path.name, {*near} - {path.name})}")
    with ExitStack() as stack:
        try:
            file, size = opened(path, name, stack)
            _refuse_large(path, name, size)
            yield file, size
        except (*_DAMAGE, OSError) as error:
            raise BundleError(f"{path}: {name} is damaged ({one_line(error)}): get the bundle again.") from None


def read_file(path: Path, name: str) -> bytes:
    """The content of one file of a bundle; errors as for `open_file`."""
    with open_file(path, name) as (file, _):
        return file.read()


def _open_in_folder(folder: Path, name: str, stack: ExitStack) -> tuple[BinaryIO, int]:
    path = folder / name
    if not os.path.lexists(path):
        content = ", ".join(sorted(p.name for p in folder.iterdir())[:6]) or "nothing"
        raise BundleError(f"{folder} is not a bundle: it has no {name}; it holds {one_line(content)}. {_REMEDY}.")
    if folder.parent.parent.name.startswith("models--") and resolved(path).is_relative_to(resolved(folder.parents[2])):
        path = resolved(path)  # the hub's cache links models--USER--NAME/snapshots/COMMIT/FILE to its blobs
    if not stat.S_ISREG(path.lstat().st_mode):  # a link may lead anywhere, a pipe never ends
        raise BundleError(f"{path} is not a plain file: put the file itself in its place.")
    _refuse_holes(path)
    return stack.enter_context(path.open("rb")), path.stat().st_size


def _open_in_zip(path: Path, name: str, stack: ExitStack) -> tuple[BinaryIO, int]:
    _refuse_holes(path)
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
    except _DAMAGE as error:
        hint = f" Give its folder, {path.parent}." if os.path.isfile(path.parent / CONFIG) else ""
        raise BundleError(f"{path} is not a bundle: a folder or a .zip is needed ({one_line(error)}).{hint}") from None
    entries = _checked_entries(path, archive)
    if name not in entries:
        raise BundleError(f"{path} is not a bundle: it has no {name}. {_REMEDY}.")
    size = entries[name].file_size
    _refuse_large(path, name, size)  # before some versions of Python refuse to open it
    return stack.enter_context(archive.open(entries[name])), size


def _refuse_large(path: Path, name: str, size: int) -> None:
    if size > LARGEST[name]:
        raise BundleError(f"{path}: {name} holds {size:,} bytes; {LARGEST[name]:,} are allowed.")


def _refuse_holes(path: Path) -> None:
    """Refuse a large file that takes almost no space on the disk; 0 blocks: the file system does not say."""
    facts = path.stat()
    if facts.st_size > _LARGE and 0 < facts.st_blocks * 512 < facts.st_size // 8:
        raise BundleError(f"{path} consists mostly of holes: its {facts.st_size:,} bytes are not on the disk.")


def _checked_entries(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Name -> entry; an archive that holds anything but the files of a bundle is refused as a whole."""
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        name = entry.filename
        if name not in LARGEST:
            problem = f"it holds {one_line(name)[:80]!r}, and a bundle {', '.join(LARGEST)}"
            raise BundleError(f"{path} is not a bundle: {problem}. {_REMEDY}.")
        if name in entries:
            raise BundleError(f"{path} holds {name} twice: get the bundle again.")
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG) or entry.flag_bits & _ENCRYPTED:
            raise BundleError(f"{path}: {name} is not a plain file, or encrypted: get the bundle again.")
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            problem = "is compressed, and a bundle's files are not"
            raise BundleError(f"{path}: {name} {problem}. Unpack it and give the folder.")
        entries[name] = entry
    return entries
