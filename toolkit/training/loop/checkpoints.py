"""Checkpoints that are complete or absent: written to another name, hashed, flushed to disk, then renamed."""

import errno
import json
import logging
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

import torch
from speechbrain.utils.checkpoints import CKPT_PREFIX, Checkpoint, Checkpointer
from speechbrain.utils.distributed import ddp_barrier, if_main_process, main_process_only

from toolkit.errors import CheckpointError, one_line
from toolkit.files import flush, parse_json, read_text, replacing, sha256

logger = logging.getLogger("toolkit")

HASHES = "hashes.json"
REMEDY = "delete the run's folder to train it again"


def save_state(instance, path) -> None:
    """Save an object's state_dict (tensors and plain values)."""
    try:
        torch.save(instance.state_dict(), path)
    except RuntimeError as error:  # how torch's zip writer reports a write that was cut short
        raise OSError(errno.EIO, "the file could not be written completely; is the disk full?") from error


def load_state(instance, path, end_of_epoch=True) -> None:
    """Load what `save_state` saved; never unpickles code, whatever the environment says.

    Raises: CheckpointError if the file holds no state of such an object.
    """
    try:
        instance.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch and optimizers raise many kinds
        raise CheckpointError(f"{path} is of another run ({one_line(error)[:200]}): {REMEDY}.") from error


def load_intact(system: torch.nn.Module, folders: Iterable[Path]) -> bool:
    """Load a system's weights from an intact checkpoint: what is frozen is the same in all. False if there is none."""
    for folder in (path for parent in folders for path in parent.glob(f"{CKPT_PREFIX}+*")):
        if damage(folder) is None:
            load_state(system, folder / "system.ckpt")
            return True
    return False


def damage(folder: Path) -> str | None:
    """Why a checkpoint's folder cannot be used, or None if every file is present and matches its hash."""
    try:
        hashes = dict(parse_json(read_text(folder / HASHES)))
    except (OSError, ValueError, TypeError):
        return f"{HASHES} is missing or unreadable"
    for name, expected in hashes.items():
        if not os.path.isfile(folder / name):
            return f"{name} is missing"
        if sha256(folder / name) != expected:
            return f"{name} has changed since it was saved"
    return None


class AtomicCheckpointer(Checkpointer):
    """SpeechBrain's Checkpointer with saves that a kill, a crash or a full disk cannot leave half done.

    A save goes into a temporary folder, together with the SHA-256 of every file; all is flushed to the disk, then the
    folder is renamed. A damaged checkpoint is skipped with a warning.

    If several ranks train together, rank 0 writes, lists and deletes while the others wait; each rank then loads the
    checkpoint that rank 0 found.
    """

    def __init__(self, checkpoints_dir, recoverables=None):
        try:
            super().__init__(checkpoints_dir, recoverables)
        except OSError as error:
            raise CheckpointError(f"Checkpoints cannot be kept in {checkpoints_dir}: {error.strerror}.") from error
        if if_main_process():
            for partial in filter(os.path.isdir, self.checkpoints_dir.glob(".*.partial")):  # a pipe would be opened
                shutil.rmtree(partial, ignore_errors=True)  # a killed process left it
        self._verdicts: dict[Path, str | None] = {}

    @main_process_only
    def save_checkpoint(self, meta=None, end_of_epoch=True, name=None, verbosity=logging.DEBUG):
        """Save all recoverables, or none of them.

        Raises: CheckpointError if the disk is full or cannot be written; earlier checkpoints stay as they were.
        """
        final = super()._custom_checkpoint_dirpath(name) if name else super()._new_checkpoint_dirpath()
        remedy = "make room and run the same command again to go on"
        with replacing(final, CheckpointError, f"earlier checkpoints are intact; {remedy}", durable=True) as partial:
            self._next = partial
            self.custom_save_hooks = dict.fromkeys(self._with_state(), save_state)
            # SpeechBrain takes the greatest "unixtime" for the last one, and a clock may be set back.
            last = max((checkpoint.meta["unixtime"] for checkpoint in super().list_checkpoints()), default=0)
            meta = {"unixtime": max(time.time(), last + 1), **(meta or {})}
            saved = super().save_checkpoint(meta, end_of_epoch, verbosity=verbosity)
            files = sorted(path for path in partial.iterdir() if os.path.isfile(path))
            hashes = {path.name: sha256(path) for path in files}
            (partial / HASHES).write_text(json.dumps(hashes, indent=1))
            for path in [*files, partial / HASHES]:
                flush(path)
        self._verdicts[final] = None
        return Checkpoint(final, saved.meta, {key: final / path.name for key, path in saved.paramfiles.items()})

    def save_and_keep_only(self, meta=None, *, importance_keys=(), **options):
        """As SpeechBrain's, whose default list of keys grows with each call."""
        super().save_and_keep_only(meta, importance_keys=list(importance_keys), **options)

    def load_checkpoint(self, checkpoint):
        """Load all recoverables. Raises: CheckpointError if the checkpoint is of another run."""
        if lacking := [name for name in self.recoverables if name not in checkpoint.paramfiles]:
            raise CheckpointError(f"{checkpoint.path} is of another run (it has no {lacking[0]}): {REMEDY}.")
        self.custom_load_hooks = dict.fromkeys(self._with_state(), load_state)
        super().load_checkpoint(checkpoint)

    def best(self, max_key: str, epoch: int) -> Checkpoint:
        """The checkpoint whose meta has the best epoch under `max_key`, "best_valid" or "best_test".

        Raises: CheckpointError if it is missing or damaged; another epoch's is never used instead.
        """
        checkpoint = self.find_checkpoint(max_key=max_key)
        if checkpoint is None or checkpoint.meta[max_key] != epoch:
            what = f"No intact checkpoint of the best epoch, {epoch}, is left in {self.checkpoints_dir}"
            raise CheckpointError(f"{what}: {REMEDY}.")
        return checkpoint

    def keep_only(self, max_keys: Iterable[str]) -> None:
        """Delete all checkpoints, damaged ones too, except the best by each of these keys of their meta."""
        best = [self.find_checkpoint(max_key=key) for key in max_keys]
        kept = {checkpoint.path for checkpoint in best if checkpoint is not None}
        if if_main_process():
            for folder in {*self.checkpoints_dir.glob(CKPT_PREFIX + "+*/")} - kept:  # other files are not ours
                shutil.rmtree(folder, ignore_errors=True)
        ddp_barrier()

    @main_process_only
    def list_checkpoints(self):
        """All intact checkpoints."""
        return super().list_checkpoints()

    def _with_state(self):
        return [name for name, instance in self.recoverables.items() if hasattr(instance, "state_dict")]

    def _new_checkpoint_dirpath(self):
        return self._next

    def _list_checkpoint_dirs(self):
        folders = super()._list_checkpoint_dirs()
        for folder in (folder for folder in folders if folder not in self._verdicts):
            self._verdicts[folder] = damage(folder)
            if self._verdicts[folder] is not None:
                logger.warning("Checkpoint %s is skipped: %s.", folder, self._verdicts[folder])
        return [folder for folder in folders if self._verdicts[folder] is None]
