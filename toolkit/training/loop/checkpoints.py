"""Checkpoints that are complete or absent, whatever ends the process."""

import errno
import json
import logging
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from ruamel.yaml import YAML

from toolkit.distributed import from_first, rank
from toolkit.errors import CheckpointError, one_line
from toolkit.files import flush, parse_json, read_text, replacing, sha256

logger = logging.getLogger("toolkit")

HASHES = "hashes.json"
META = "CKPT.yaml"
FOLDERS = "CKPT+*"
REMEDY = "delete the run's folder to train it again"


def save_state(instance, path) -> None:
    """Save an object's state_dict (tensors and plain values)."""
    try:
        torch.save(instance.state_dict(), path)
    except RuntimeError as error:  # how torch's zip writer reports a write that was cut short
        raise OSError(errno.EIO, "the file could not be written completely; is the disk full?") from error


def load_state(instance, path) -> None:
    """Load what `save_state` saved, else a CheckpointError; never unpickles code, whatever the environment says."""
    try:
        instance.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch and optimizers raise many kinds
        raise CheckpointError(f"{path} belongs to another run ({one_line(error)[:200]}): {REMEDY}.") from error


def damage(folder: Path) -> str | None:
    """Why a checkpoint's folder cannot be used, or None if every file is present and matches its hash."""
    try:
        hashes = dict(parse_json(read_text(folder / HASHES)))
    except (OSError, ValueError, TypeError):
        return f"{HASHES} is missing or unreadable"
    for name, expected in hashes.items():
        if not os.path.isfile(folder / name) or sha256(folder / name) != expected:
            return f"{name} is missing or has changed since it was saved"
    return None


class Checkpoints:
    """The checkpoints of a training: folders with the states of all `parts`, and the SHA-256 of every file.

    The last one is kept, and the best by each of `keys` of their meta, such as "best_valid". Of several ranks, rank 0
    writes, lists and deletes while the others wait; each then loads the checkpoint that rank 0 found.
    """

    def __init__(self, folder: str | Path, keys: Iterable[str] = ()):
        self.folder, self.keys = Path(folder), tuple(keys)
        self.parts: dict[str, Any] = {}
        self._verdicts: dict[Path, str | None] = {}
        if rank() == 0:
            for partial in self.folder.glob(".CKPT*.partial"):
                shutil.rmtree(partial, ignore_errors=True)  # a killed process left it

    def add_recoverable(self, name: str, part: Any, **options: Any) -> None:
        """Add a part; SpeechBrain's Brain adds itself, whose state is in YAML, and its gradient scaler."""
        self.parts[name] = part

    def save(self, meta: Mapping[str, Any]) -> Path:
        """Save all parts, or none: with a CheckpointError if the disk is full. Earlier ones then stay as they were."""
        return from_first(lambda: self._save(meta))

    def load(self, folder: Path) -> None:
        """Load all parts. Raises: CheckpointError if the checkpoint belongs to another run."""
        for name, part in self.parts.items():
            path = folder / f"{name}.ckpt"
            load_state(part, path) if hasattr(part, "state_dict") else part._recover(path, end_of_epoch=True)

    def last(self) -> Path | None:
        """The last intact checkpoint."""
        return from_first(lambda: next(iter(self.intact()), None))

    def best(self, key: str, epoch: int) -> Path:
        """The checkpoint whose meta has this epoch under `key`, else a CheckpointError: another's is never used."""
        found = from_first(lambda: next((path for path, meta in self.intact().items() if meta.get(key) == epoch), None))
        if found is None:
            what = f"No intact checkpoint of the best epoch, {epoch}, is left in {self.folder}"
            raise CheckpointError(f"{what}: {REMEDY}.")
        return found

    def keep_best(self) -> None:
        """Delete all but the best, damaged ones too."""
        from_first(self._delete_others)

    def intact(self) -> dict[Path, dict[str, Any]]:
        """The meta of all intact checkpoints, the last one first; a damaged one is named in a warning."""
        found = {}
        for path in self.folder.glob(FOLDERS):
            if path not in self._verdicts:
                self._verdicts[path] = damage(path)
                if self._verdicts[path] is not None:
                    logger.warning("Checkpoint %s is skipped: %s.", path, self._verdicts[path])
            if self._verdicts[path] is None:
                found[path] = YAML(typ="safe").load(path / META)
        return dict(sorted(found.items(), key=lambda item: item[1]["unixtime"], reverse=True))

    def _save(self, meta: Mapping[str, Any]) -> Path:
        now = max([time.time(), *(known["unixtime"] + 1 for known in self.intact().values())])  # clocks are set back
        final = self.folder / time.strftime("CKPT+%Y-%m-%d+%H-%M-%S+00", time.gmtime(now))
        remedy = "make room and run the same command again to go on"
        with replacing(final, CheckpointError, f"earlier checkpoints are intact; {remedy}", durable=True) as partial:
            partial.mkdir()
            for name, part in self.parts.items():
                path = partial / f"{name}.ckpt"
                save_state(part, path) if hasattr(part, "state_dict") else part._save(path)
            lines = [f"{key}: {json.dumps(value)}\n" for key, value in {"unixtime": now, **meta}.items()]
            (partial / META).write_text("".join(lines))
            hashes = {path.name: sha256(path) for path in partial.iterdir()}
            (partial / HASHES).write_text(json.dumps(hashes, indent=1))
            for path in partial.iterdir():
                flush(path)
        self._verdicts[final] = None
        self._delete_others(final)
        return final

    def _delete_others(self, *kept: Path) -> None:
        found, left = self.intact(), {*kept}
        for key in self.keys:
            left.update(sorted((path for path in found if key in found[path]), key=lambda path: found[path][key])[-1:])
        for folder in {*self.folder.glob(FOLDERS)} - left:
            shutil.rmtree(folder, ignore_errors=True)
