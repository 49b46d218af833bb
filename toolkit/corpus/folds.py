"""A fold: one split of a corpus, which checks itself."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.corpus.utterance import Utterance, speaker_order
from toolkit.errors import ProtocolError, did_you_mean, listed

PARTS = ("train", "valid", "test")
SPEAKER_DEPENDENT_STAMP = "speaker-dependent: training and test share speakers"  # only a fold with this stamp may


@dataclass(frozen=True)
class Fold:
    """One split.

    Raises: ProtocolError if a part is empty, or an utterance is in two parts or twice in one; only in protocol
        loso-as-published may `valid` equal `test`.
    """

    name: str  # who or what tests, for example "1M" or "Session1"
    protocol: str  # the one that made it
    train: tuple[str, ...]  # ids of utterances
    valid: tuple[str, ...]  # chooses the epoch unless `selects_on(protocol)` is "test"
    test: tuple[str, ...]
    stamp: str | None = None  # a note that every result has to carry

    @property
    def digest(self) -> str:
        """A hash of the fold's name and of which utterances are in which part."""
        parts = [sorted(getattr(self, part)) for part in PARTS]
        return hashlib.sha256(json.dumps([self.name, *parts]).encode()).hexdigest()[:16]

    @property
    def part_of(self) -> dict[str, str]:
        """Id of an utterance -> its part; "test" if it also validates, as in loso-as-published."""
        return {i: part for part in PARTS for i in getattr(self, part)}

    def __post_init__(self):
        where = f"fold {self.name!r} of protocol {self.protocol!r}"
        part_of: dict[str, str] = {}
        for part in PARTS:
            if not (ids := getattr(self, part)):
                raise ProtocolError(f"{where} has no utterance in part {part}")
            if part == "test" and self.protocol == "loso-as-published" and set(ids) == set(self.valid):
                continue
            for i in ids:
                if i in part_of:
                    raise ProtocolError(f"{where} has utterance {i!r} in {part_of[i]} and in {part}")
                part_of[i] = part


def pick_fold(folds: Sequence[Fold], name: str | None) -> Fold:
    """Return the fold of this name, or the first for None; ProtocolError lists the folds if none has it."""
    for fold in folds:
        if name is None or fold.name == str(name):
            return fold
    names = [fold.name for fold in folds]
    raise ProtocolError(f"No fold is called {name!r}.{did_you_mean(name, names)} Folds are {listed(names)}")


def fold_table(folds: Sequence[Fold], utterances: Sequence[Utterance]) -> list[dict[str, Any]]:
    """Fold by fold: [{"fold": "1M", "train": {"speakers": [...], "utterances": 9}, "valid": ..., "test": ...}, ...]."""
    by_id = {u.id: u for u in utterances}

    def of_part(ids: Sequence[str]) -> dict[str, Any]:
        return {"speakers": speaker_order(by_id[i] for i in ids), "utterances": len(ids)}

    return [{"fold": fold.name, **{part: of_part(getattr(fold, part)) for part in PARTS}} for fold in folds]
