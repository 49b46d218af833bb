"""Files: written whole or not at all, locked, hashed; and the folder of what can be made again."""

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from toolkit.errors import ToolkitError

DISTRIBUTION = "audio-classification-toolkit"


def cache_folder() -> Path:
    """Where files are kept that can be made again: in $XDG_CACHE_HOME, else in ~/.cache."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (named if named.is_absolute() else Path.home() / ".cache") / DISTRIBUTION


@contextmanager
def replacing(path: Path, error: type[ToolkitError], remedy: str, *, durable: bool = False) -> Iterator[Path]:
    """Write a file or a folder aside, then move it to `path` in one step; nothing of it is left if that fails.

    Args:
        path: of the file, which is replaced, or of the folder, which must not exist; missing parents are made.
        error: what is raised where it cannot be written.
        remedy: what the reader can do then, as the end of a sentence: "choose another --output".
        durable: wait until the content and the name are on the disk, so that they outlive a power failure.

    Yields:
        The path to write to, in the same folder.

    Raises:
        ToolkitError: `error`, in place of an OSError.
    """
    partial = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        if durable:
            flush(partial)
        partial.replace(path)
        if durable:
            flush(path.parent)
    except OSError as cause:
        raise error(f"{path} cannot be written ({cause.strerror or cause}): {remedy}.") from cause
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_whole(
    path: Path, content: bytes | str, error: type[ToolkitError], remedy: str, *, durable: bool = False
) -> None:
    """Write a file as `replacing` does; text as UTF-8."""
    with replacing(path, error, remedy, durable=durable) as partial:
        partial.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def flush(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on the disk: a rename alone may be lost with the power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, *, wait: bool, shared: bool = False) -> Iterator[bool]:
    """Hold the lock of a file; a process that ends, however it ends, loses it.

    Args:
        path: of the file; it is made where it is missing, but for a shared lock.
        wait: whether to wait for another process that holds it.
        shared: whether others may hold a shared lock meanwhile.

    Yields:
        Whether the lock is held.

    Raises:
        OSError: if the file cannot be opened or locked.
    """
    import fcntl

    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    with path.open("r" if shared else "a") as file:
        try:
            fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # a child process may hold the file open


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
