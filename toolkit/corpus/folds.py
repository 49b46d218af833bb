"""A fold: one split, which checks itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from toolkit.corpus.utterance import Utterance
from toolkit.errors import ProtocolError, did_you_mean

PARTS = ("train", "valid", "test")


@dataclass(frozen=True)
class Fold:
    """One split.

    Args:
        name: who or what tests, for example "1M" or "Session1".
        protocol: the protocol that made it.
        train: ids of utterances.
        valid: ids; they choose the epoch unless `selects_on(protocol)` is "test".
        test: ids.
        stamp: a note that every result has to carry, or None.

    Raises: ProtocolError if a part is empty, or an utterance is in two parts or twice in one; only in protocol
        loso-as-published may `valid` equal `test`.
    """

    name: str
    protocol: str
    train: tuple[str, ...]
    valid: tuple[str, ...]
    test: tuple[str, ...]
    stamp: str | None = None

    def __post_init__(self):
        where = f"fold {self.name!r} of protocol {self.protocol!r}"
        part_of: dict[str, str] = {}
        for part in PARTS:
            ids = getattr(self, part)
            if not ids:
                raise ProtocolError(f"{where} has no utterance in part {part}")
            if part == "test" and self.protocol == "loso-as-published" and set(ids) == set(self.valid):
                continue
            for i in ids:
                if i in part_of:
                    raise ProtocolError(f"{where} has utterance {i!r} in {part_of[i]} and in {part}")
                part_of[i] = part
        if self.protocol == "loso-as-published" and self.stamp is None:
            raise ProtocolError(f"{where} needs a stamp: the test speaker validates")


def pick_fold(folds: Sequence[Fold], name: str | None) -> Fold:
    """Return the fold of this name, the first for None; ProtocolError names the folds there are."""
    for fold in folds:
        if name is None or fold.name == str(name):
            return fold
    names = [fold.name for fold in folds]
    raise ProtocolError(f"No fold is called {name!r}.{did_you_mean(name, names)} Folds are {', '.join(names)}")


def refuse_shared(fold: Fold, utterances: Mapping[str, Utterance]) -> None:
    """Raise ProtocolError if a speaker (where there is none: a file) is in two parts of a fold.

    A validation part that equals the test part, as in loso-as-published, counts as one part with it.
    """
    part_of: dict[object, str] = {}
    for part in PARTS:
        if part == "test" and set(fold.test) == set(fold.valid):
            continue
        for i in getattr(fold, part):
            u = utterances[i]
            who = ("speaker", u.speaker) if u.speaker is not None else ("file", str(u.path))
            if part_of.setdefault(who, part) != part:
                found = f"{who[0]} {who[1]!r} is in {part_of[who]} and in {part} of fold {fold.name!r}"
                raise ProtocolError(f"{found} (protocol {fold.protocol!r}): results would be meaningless")
