"""Files: atomic writes, locks, hashes; text and JSON from any source; the cache folder."""

import codecs
import contextlib
import csv
import errno
import hashlib
import io
import json
import math
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.errors import ToolkitError, one_line

if TYPE_CHECKING:
    from jinja2 import Environment

DISTRIBUTION = "audio-classification-toolkit"
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a cell that begins so is a formula to a spreadsheet


def cache_folder() -> Path:
    """The folder for files that can be made again: in $XDG_CACHE_HOME, else in ~/.cache."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (named if named.is_absolute() else Path.home() / ".cache") / DISTRIBUTION


def resolved(path: str | Path) -> Path:
    """An absolute path without links and dots; unlike Path.resolve, it accepts a loop of links."""
    return Path(os.path.realpath(path))


def require_file(path: Path) -> Path:
    """The path of a plain file; OSError for anything else: reading a pipe may block, and a device may never end."""
    kind = stat.S_IFMT(path.stat().st_mode)
    others = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    if kind != stat.S_IFREG:
        raise OSError(errno.EINVAL, f"it is {others.get(kind, 'a device')}, not a file", str(path))
    return path


def read_text(path: Path, errors: str = "strict") -> str:
    """The text of a plain file: UTF-8, or UTF-16 if a byte order mark says so. Raises: OSError, UnicodeDecodeError."""
    content = require_file(path).read_bytes()
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if is_utf16 else "utf-8-sig", errors)


@contextmanager
def replacing(path: Path, error: type[ToolkitError], remedy: str, *, durable: bool = False) -> Iterator[Path]:
    """Write a file or a folder under the temporary name yielded, then move it to `path`; a failure leaves nothing.

    A file there is replaced, or the one that a link leads to; a folder must not exist; missing parents are made. An
    OSError becomes an `error` whose line ends with the remedy. What is `durable` survives a power failure.
    """
    if not path.name:
        raise error(f"{str(path)!r} cannot be the name of a file: {remedy}.")
    target = resolved(path) if os.path.islink(path) else path
    partial = target.with_name(f".{target.name[:50]}.{secrets.token_hex(4)}.partial")
    try:
        if os.path.exists(path) and not os.path.isdir(path):
            require_file(path)  # as root, a device would be replaced
        target.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        if durable:
            flush(partial)
        partial.replace(target)
        if durable:
            flush(target.parent)
    except BaseException as cause:
        with contextlib.suppress(OSError):
            shutil.rmtree(partial) if os.path.isdir(partial) else partial.unlink(missing_ok=True)
        if isinstance(cause, OSError):
            raise error(f"{path} cannot be written ({cause.strerror or cause}): {remedy}.") from cause
        raise


def write_whole(path: Path, content: bytes | str, error: type[ToolkitError], remedy: str, **how: bool) -> None:
    """Write a file as `replacing` does; text as UTF-8."""
    with replacing(path, error, remedy, **how) as partial:
        partial.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def templates(folder: Path, *, escape: Callable[[Any], str] | None = None, **options: Any) -> "Environment":
    """An environment for a folder's templates; `escape` turns values that are not marked `safe` into text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    if escape is not None:
        options["finalize"] = lambda value: value if hasattr(value, "__html__") else escape(value)
    layout = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
    loader = FileSystemLoader(folder, encoding="utf-8")
    return Environment(loader=loader, undefined=StrictUndefined, **layout, **options)


def flush(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on the disk: a power failure could undo a mere rename."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, *, wait: bool, shared: bool = False) -> Iterator[bool]:
    """Hold the lock of a file, at most until the process ends, however it ends; yields whether the lock is held.

    `wait` for another process that holds it. Others may hold a `shared` lock too; it does not make a missing file.
    """
    import fcntl

    kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    if os.path.exists(path):
        require_file(path)
    held = False
    with path.open("r" if shared else "a") as file:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, kind)
            held = True
        try:
            yield held
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # closing is not enough: a child process may hold the file open


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def to_cell(value: Any) -> Any:
    """A value as a cell of a CSV file; text that a spreadsheet would compute, or that looks so, gets an apostrophe."""
    try:
        float(value)
    except (TypeError, ValueError):
        return f"'{value}" if str(value).lstrip("'")[:1] in FORMULA else value
    return value


def csv_text(rows: Sequence[Sequence[Any]]) -> str:
    """A CSV file of these rows, the header first; before Python 3.13 csv does not quote a lone carriage return."""
    quoting = csv.QUOTE_ALL if any("\r" in str(value) for row in rows for value in row) else csv.QUOTE_MINIMAL
    text = io.StringIO(newline="")
    csv.writer(text, quoting=quoting, lineterminator="\n").writerows(rows)
    return text.getvalue()


def from_cell(text: str) -> str:
    """The text from which `to_cell` made a cell."""
    return text[1:] if text[:1] == "'" and text.lstrip("'")[:1] in FORMULA else text


def parse_json(text: str | bytes, *, strict: bool = False) -> Any:
    """The value of a JSON text; ValueError if it is none, or if `strict` and it holds NaN, infinity or a key twice."""
    hooks = {"parse_constant": _finite, "parse_float": _finite, "object_pairs_hook": without_repeated_keys}
    try:
        return json.loads(text, **(hooks if strict else {}))
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None


def read_json(path: Path, error: type[ToolkitError], remedy: str) -> dict[str, Any]:
    """The object in a JSON file; FileNotFoundError if it is missing, `error`, with the remedy, if it is damaged."""
    try:
        if isinstance(value := parse_json(read_text(path), strict=True), dict):
            return value
        reason = "it does not hold an object"
    except (FileNotFoundError, NotADirectoryError) as cause:  # the latter: a file is named where a folder is needed
        raise FileNotFoundError(cause.errno, cause.strerror, str(path)) from None
    except (OSError, ValueError) as cause:
        reason = one_line(getattr(cause, "strerror", None) or str(cause))
    raise error(f"{path} is damaged ({reason}): {remedy}.")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is not a finite number")
    return value


def without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object from its keys and values; ValueError if a key occurs twice."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key occurs twice in one object")
    return values
