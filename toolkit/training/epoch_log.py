"""Logs every epoch of a training: epochs.csv, a printed line, and trackers through their own libraries."""

import json
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import NamedTuple

from toolkit.errors import RecipeError, join, one_line
from toolkit.files import DISTRIBUTION
from toolkit.recipe.schema import Recipe
from toolkit.training.loop.history import History
from toolkit.training.run_folder import EPOCHS, RunFolder

TRACKED = "trackers.json"  # tracker -> its id of the run, under which a resumed training continues


class Tracker(NamedTuple):
    """A tracker that is open for a run."""

    run_id: str | None
    log: Callable[[Mapping[str, float], int], object]  # the values of an epoch, and its number
    close: Callable[[bool], object]  # called with whether the training ended normally


class EpochLog(AbstractContextManager):
    """Called with the history after every epoch; the phase "probe" has files of its own.

    A tracker that fails is reported once and then left out; one that is not installed is a RecipeError.
    """

    def __init__(self, folder: RunFolder, recipe: Recipe, say: Callable[[str], None], phase: str = ""):
        self.folder, self.recipe, self.say, self.phase = folder, recipe, say, phase
        loggers = recipe.training.loggers
        if missing := [name for name in loggers or () if find_spec(name) is None]:
            install = f"pip install '{DISTRIBUTION}[{','.join(missing)}]'"
            raise RecipeError(f"training.loggers: {join(missing)} is not installed: {install}, or leave it out.")
        names = [name for name in ("tensorboard",) if find_spec(name)] if loggers is None else dict.fromkeys(loggers)
        self._names = [name for name in names if folder.writes and (name == "tensorboard" or not phase)]
        self._open: dict[str, Tracker] = {}

    def __exit__(self, error: type[BaseException] | None, *details: object) -> None:
        for name, tracker in list(self._open.items()):
            self._try(name, tracker.close, error is None)

    def __call__(self, history: History) -> None:
        """Rewrite epochs.csv (probe.csv for the probe), print its last row, and send it to the trackers."""
        self.folder.write_rows(f"{self.phase}.csv" if self.phase else EPOCHS, history.rows)
        row = history.rows[-1]
        skipped = f"  skipped steps {history.skipped_steps}" if history.skipped_steps else ""
        names = [column for column in row if column.startswith("valid_")]
        valid = " ".join(f"{name.removeprefix('valid_').upper()} {row[name]:.4f}" for name in names)
        epoch = f"{self.phase} epoch {row['epoch']:3d}".lstrip()
        no_loss = "no finite train loss" if row["epoch"] else "fitted"
        loss = no_loss if row["train_loss"] is None else f"train loss {row['train_loss']:.4f}"
        self.say(f"{epoch}  {loss}  valid {valid}  {row['seconds']:.1f} s{skipped}")
        values = {key.replace("_", "/", 1): x for key, x in row.items() if key != "epoch" and x is not None}
        for name in list(self._names):
            self._try(name, self._log, name, values, row["epoch"])

    def _log(self, name: str, values: Mapping[str, float], epoch: int) -> None:
        if name not in self._open:
            path = self.folder.path / TRACKED
            tracked = json.loads(path.read_text()) if os.path.isfile(path) else {}
            self._open[name] = TRACKERS[name](self, tracked.get(name), epoch)
            if run_id := self._open[name].run_id:
                self.folder.write_json(TRACKED, tracked | {name: run_id})
        self._open[name].log(values, epoch)

    def _try(self, name: str, call: Callable, *args: object) -> None:
        try:
            call(*args)
        except Exception as error:  # a tracker's library may raise anything
            self._names.remove(name)
            self._open.pop(name, None)
            self.say(f"WARNING: {name} failed and receives nothing more from this training ({one_line(error)}).")


def _tensorboard(epochs: EpochLog, run_id: None, epoch: int) -> Tracker:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(f"{epochs.folder.path}/tensorboard/{epochs.phase}", purge_step=epoch)  # no epoch twice

    def log(values: Mapping[str, float], epoch: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, epoch)
        writer.flush()

    return Tracker(None, log, lambda ended: writer.close())  # otherwise its thread lives as long as the process


def _mlflow(epochs: EpochLog, run_id: str | None, epoch: int) -> Tracker:
    import mlflow

    started = mlflow.start_run(run_id=run_id, run_name=epochs.folder.path.name, nested=True).info.run_id
    mlflow.log_dict(epochs.recipe.as_dict(), "recipe.json")
    return Tracker(started, mlflow.log_metrics, lambda ended: mlflow.end_run("FINISHED" if ended else "KILLED"))


def _wandb(epochs: EpochLog, run_id: str | None, epoch: int) -> Tracker:
    import wandb

    options = {"project": os.environ.get("WANDB_PROJECT", DISTRIBUTION), "dir": str(epochs.folder.path)}
    options |= {"name": epochs.folder.path.name, "config": epochs.recipe.as_dict(), "reinit": "create_new"}
    started = wandb.init(id=run_id, resume="allow", **options)
    started.define_metric("*", step_metric="epoch")  # wandb's own step cannot go back when a run resumes
    log, close = started.log, started.finish
    return Tracker(started.id, lambda row, epoch: log({**row, "epoch": epoch}), lambda ended: close(int(not ended)))


TRACKERS = {"tensorboard": _tensorboard, "mlflow": _mlflow, "wandb": _wandb}
