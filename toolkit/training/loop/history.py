"""The epochs of a training, and which of them a rule selects."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from toolkit.corpus.targets import Target
from toolkit.errors import CheckpointError, one_line
from toolkit.files import read_json
from toolkit.recipe.training import TrainingSpec
from toolkit.training.loop.checkpoints import REMEDY


class Selection(NamedTuple):
    """What a rule selects."""

    epoch: int  # one before the first if there is none yet
    stopped: bool  # whether its patience ran out


class History:
    """The rows of epochs.csv and the count of skipped steps; part of every checkpoint."""

    def __init__(self, rules: Sequence[str], training: TrainingSpec, *, first: int = 1):
        self.rules, self.training = tuple(rules), training  # parts whose score decides when to stop
        self.first = first  # 0 if a fitted system is validated before it trains
        self.rows: list[dict[str, Any]] = []
        self.skipped_steps = 0
        self.probe: dict[str, Any] | None = None  # how the probe before this training ended
        self.threads: int | None = None  # of torch at the start: another number changes the last bits of sums
        self.seconds_before = 0.0  # spent on the current epoch before an interruption, or on fitting before the first

    @property
    def epoch(self) -> int:
        """The number of the current epoch; between two epochs, of the next one."""
        return self.first + len(self.rows)

    def epochs(self) -> Iterator[int]:
        """The epochs to train, up to the recipe's number or until the patience of every rule has run out."""
        while self.epoch <= self.training.epochs and not self.finished:
            yield self.epoch

    def selection(self, rule: str) -> Selection:
        """The first epoch with the best score by `rule` before `patience` epochs have passed without a better one.

        Epochs after that do not count: a training may go on for another rule, "valid" or "test".
        """
        best, best_score, patience = self.first - 1, float("-inf"), self.training.patience
        for epoch, row in enumerate(self.rows, start=self.first):
            score = Target.selection_score(row, rule)
            if score > best_score:
                best, best_score = epoch, score
            elif patience is not None and epoch - best >= patience and epoch > self.training.min_epochs:
                return Selection(best, True)
        return Selection(best, False)

    @property
    def seconds(self) -> float:
        """The duration of all epochs, including what is fitted before them and the probe's."""
        return round(sum(row["seconds"] for row in self.rows) + (self.probe or {"seconds": 0})["seconds"], 3)

    @property
    def finished(self) -> bool:
        """Whether the patience of every rule has run out."""
        return bool(self.rows) and all(self.selection(rule).stopped for rule in self.rules)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {name: getattr(self, name) for name in ("rows", "probe", "skipped_steps", "seconds_before", "threads")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`."""
        vars(self).update(state)

    def load(self, path: Path) -> None:
        """Continue from a file that holds a `state_dict`. Raises: CheckpointError if it is damaged."""
        state = read_json(path, CheckpointError, REMEDY)
        try:
            self.load_state_dict({name: state[name] for name in self.state_dict()})
            follow = self.rows and [row["epoch"] for row in self.rows] == list(range(self.first, self.epoch))
            alike = follow and len({tuple(row) for row in self.rows}) == 1 and "train_loss" in self.rows[0]
            if not (alike and self.seconds >= 0 and all(map(self.selection, self.rules))):
                raise ValueError("its rows do not fit together")
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path} is damaged ({one_line(error)}): {REMEDY}.") from None
