"""A bundle's files in a folder or in one .zip: written whole or not at all, read without trusting names or sizes.

Only the files of `LARGEST` are ever read, by these names, and nothing is unpacked to the disk. Entries of a .zip are
stored, not compressed, so that no archive is larger than it looks.
"""

import contextlib
import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from toolkit.errors import BundleError, did_you_mean
from toolkit.files import flush
from toolkit.inference.bundle.config import CONFIG, one_line
from toolkit.training.run_folder import RECIPE, RESULTS

WEIGHTS = "model.safetensors"
CARD = "README.md"
ONNX = "model.onnx"  # may be there
LARGEST = {CONFIG: 16 << 20, CARD: 4 << 20, WEIGHTS: 16 << 30, ONNX: 2 << 30}  # bytes
ZIP = ".zip"
_DATE = (1980, 1, 1, 0, 0, 0)  # of every entry, so that the same content is the same .zip
_ENCRYPTED = 1
_REMEDY = "`toolkit export RUN BUNDLE` makes bundles"

Read = Callable[[str], bytes]


def write_files(target: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder, or one file for a name that ends in .zip.

    Args:
        target: must not be there.
        files: name -> content.

    Raises:
        BundleError: if there is something at the target, or it cannot be written; then nothing is left behind.
    """
    refuse_existing(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=target.parent))
    except OSError as error:
        raise BundleError(f"{target} cannot be written: {error.strerror}.") from error
    try:
        if is_zip_name(target):
            _write_zip(partial / target.name, files)
            _publish_file(partial / target.name, target)
        else:
            for name, data in files.items():
                _write(partial / name, lambda file, data=data: file.write(data))
            partial.chmod(0o755)
            partial.rename(target)
        flush(target.parent)
    except FileExistsError:
        refuse_existing(target)
        raise
    except OSError as error:
        raise BundleError(f"{target} could not be written ({error.strerror}); nothing of it is left.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def refuse_existing(target: Path) -> None:
    """Refuse a target that is there, whatever it is."""
    if os.path.lexists(target):
        raise BundleError(f"{target} is there already, and is left as it is: choose another name or move it away.")


def is_zip_name(target: Path) -> bool:
    """Whether a bundle of this name is one file."""
    return target.suffix.lower() == ZIP


@contextlib.contextmanager
def open_files(path: Path) -> Iterator[Read]:
    """Open a bundle; yields what reads one of its files by name.

    Raises:
        BundleError: if there is no bundle here. Reading raises it where a file is missing, no plain file, or larger
            than `LARGEST` allows.
    """
    if _is_folder(path):
        yield lambda name: _read_from_folder(path, name)
        return
    with _opened_zip(path) as archive:
        entries = _checked_entries(path, archive)
        yield lambda name: _read_from_zip(path, archive, entries, name)


def _is_folder(path: Path) -> bool:
    """Whether it is a folder, and not a file; refuses what is neither, and runs."""
    try:
        if path.name == RESULTS or (path / RESULTS).is_file() or (path / RECIPE).is_file():
            run = path.parent if path.name == RESULTS else path
            raise BundleError(f"{path} is of a run, not a bundle. `toolkit export {run} BUNDLE` makes one of it.")
        if path.is_dir() or path.is_file():
            return path.is_dir()
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        raise BundleError(f"{path} cannot be read: {error.strerror}.") from error
    raise BundleError(f"No bundle at {path}.{_near(path)}")


def _write(path: Path, fill: Callable) -> None:
    with path.open("xb") as file:
        fill(file)
        file.flush()
        os.fsync(file.fileno())


def _write_zip(path: Path, files: Mapping[str, bytes]) -> None:
    def fill(file):
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, data in files.items():
                entry = zipfile.ZipInfo(name, _DATE)
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, data)

    _write(path, fill)


def _publish_file(partial: Path, target: Path) -> None:
    """Give a file its name, unless that has been taken meanwhile."""
    try:
        os.link(partial, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        partial.rename(target)


def _read_from_folder(folder: Path, name: str) -> bytes:
    path = folder / name
    try:
        facts = path.lstat()
        if not stat.S_ISREG(facts.st_mode):  # a link may lead anywhere, a pipe never ends
            raise BundleError(f"{path} is no plain file: put the file itself in its place.")
        _check_size(path, name, facts.st_size)
        return path.read_bytes()
    except FileNotFoundError:
        found = ", ".join(sorted(p.name for p in folder.iterdir())[:6]) or "nothing"
        raise BundleError(f"{folder} is no bundle: it has no {name}; it holds {one_line(found)}. {_REMEDY}.") from None
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}.") from error


@contextlib.contextmanager
def _opened_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(path)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}.") from error
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OverflowError) as error:
        inside = path.parent / CONFIG
        hint = f" Its folder {path.parent} may be one." if path != inside and inside.is_file() else ""
        hint = f" Give its folder, {path.parent}." if path == inside else hint
        raise BundleError(f"{path} is no bundle: a folder or a .zip is needed ({one_line(error)}).{hint}") from None
    with archive:
        yield archive


def _checked_entries(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Name -> entry; an archive that holds anything but the files of a bundle is refused as a whole."""
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        name = entry.filename
        shown = repr(one_line(name)[:80])
        if name not in LARGEST:
            raise BundleError(f"{path} is no bundle: it holds {shown}, and a bundle {', '.join(LARGEST)}. {_REMEDY}.")
        if name in entries:
            raise BundleError(f"{path} holds {shown} twice: get the bundle again.")
        mode = entry.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG) or entry.flag_bits & _ENCRYPTED:
            raise BundleError(f"{path}: {name} is no plain file, or encrypted: get the bundle again.")
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise BundleError(
                f"{path}: {name} is compressed, and a bundle's files are not. Unpack it and give the folder."
            )
        entries[name] = entry
    return entries


def _read_from_zip(path: Path, archive: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo], name: str) -> bytes:
    if name not in entries:
        raise BundleError(f"{path} is no bundle: it has no {name}. {_REMEDY}.")
    _check_size(path, name, entries[name].file_size)
    try:
        return archive.read(entries[name])
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise BundleError(f"{path}: {name} is damaged ({one_line(error)}): get the bundle again.") from None


def _check_size(path: Path, name: str, size: int) -> None:
    if size > LARGEST[name]:
        raise BundleError(f"{path}: {name} holds {size:,} bytes; {LARGEST[name]:,} are allowed.")


def _near(path: Path) -> str:
    with contextlib.suppress(OSError):
        return did_you_mean(path.name, [p.name for p in path.parent.iterdir()])
    return ""
