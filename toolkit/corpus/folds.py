"""A fold is one split of a corpus; the audit finds what parts of a split share."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

from toolkit.corpus.listening import Sounds, listen, near_copies
from toolkit.corpus.utterance import ALIKE, REMEDY, Problem, Utterance, natural_key, plain_name, speaker_order
from toolkit.errors import CorpusError, ProtocolError, counted, did_you_mean, join, listed

PARTS = ("train", "valid", "test")
SPEAKER_DEPENDENT_STAMP = "speaker-dependent: training and test share speakers"  # only a fold with this stamp may
FACTOR, LEAST = 2.0, 5  # a share is unlike train's if it differs by this factor and so many utterances are expected
# What a part may share with the parts before it -> the noun that is counted, and what the message says of it.
MESSAGES = {
    "speaker": ("speaker", "in {there}, too"),
    "file": ("file", "in {there}, too"),
    "audio": ("utterance", "the same audio as in {there}"),
    "copy": ("utterance", "copied from audio in {there}, changed in level, rate, encoding or silence"),
    "text": ("sentence", "in {there}, too"),
}
BY_SOUND = ("audio", "copy")  # kinds that count utterances; the others count names

Parts = Mapping[str, Sequence[Utterance]]  # train, valid and test -> utterances
Heard = Mapping[str, Mapping[Hashable, Hashable]]  # "audio" or "copy" -> place -> key of its group


@dataclass(frozen=True)
class Fold:
    """One split. Raises: ProtocolError if a part is empty, or an utterance is in two parts or twice in one.

    Only in protocol loso-as-published may `valid` equal `test`.
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

    def parts(self, utterances: Sequence[Utterance]) -> dict[str, list[Utterance]]:
        """Part -> its utterances; those that both validate and test, as in loso-as-published, count as test."""
        part_of = {i: part for part in PARTS for i in getattr(self, part)}
        return {part: [u for u in utterances if part_of.get(u.id) == part] for part in PARTS}

    def __post_init__(self):
        where = f"fold {self.name!r} of protocol {self.protocol!r}"
        for part in PARTS:
            if not getattr(self, part):
                raise ProtocolError(f"{where} has no utterance in part {part}")
        validates_itself = self.protocol == "loso-as-published" and set(self.test) == set(self.valid)
        ids = Counter([*self.train, *self.valid, *(() if validates_itself else self.test)])
        if (most := ids.most_common(1)[0])[1] > 1:
            raise ProtocolError(f"{where} has utterance {most[0]!r} twice: parts share no utterance")


def pick_fold(folds: Sequence[Fold], name: str | None) -> Fold:
    """Return the fold of this name, or the first for None; ProtocolError lists the folds if none has it."""
    for fold in folds:
        if name is None or fold.name == str(name):
            return fold
    names = [fold.name for fold in folds]
    raise ProtocolError(f"No fold is called {name!r}.{did_you_mean(name, names)} Folds are {listed(names)}")


def fold_table(folds: Sequence[Fold], utterances: Sequence[Utterance]) -> list[dict[str, Any]]:
    """Fold by fold: [{"fold": "1M", "train": {"speakers": [...], "utterances": 9}, "valid": ..., "test": ...}, ...]."""
    by_id, table = {u.id: u for u in utterances}, []
    for fold in folds:
        parts = {part: [by_id[i] for i in getattr(fold, part)] for part in PARTS}
        counts = {part: {"speakers": speaker_order(us), "utterances": len(us)} for part, us in parts.items()}
        table.append({"fold": fold.name, **counts})
    return table


class Shared(NamedTuple):
    """What a part shares with the parts before it, of one kind."""

    kind: str  # a key of MESSAGES
    part: str
    names: list[str]
    total: int  # how many of that kind the part has
    message: str


def hear(sounds: Sounds) -> Heard:
    """Group utterances by equal samples ("audio"), and with their changed copies ("copy"); silent ones are left out."""
    same = {u.place: sound.digest for u, sound in sounds if sound.digest}
    groups = {place: [place] for place in same}
    for one, other in near_copies(sounds):
        kept, joined = groups[one.place], groups[other.place]
        if kept is not joined:
            kept += joined
            groups |= dict.fromkeys(joined, kept)
    return {"audio": same, "copy": {place: group[0] for place, group in groups.items()}}


def audit(
    parts: Parts, heard: Heard | None = None, kinds: Collection[str] = tuple(MESSAGES), *, alike: bool = True
) -> Iterator[Shared]:
    """Yield, by kind, what valid shares with train, and test with both, even nothing; `alike` speakers count as one."""
    nameless = {u.path for us in parts.values() for u in us if not u.speaker}
    values: dict[str, Callable[[Utterance], Hashable]] = {
        "speaker": lambda u: u.speaker,
        "file": lambda u: str(u.path) if u.path in nameless else None,
        "text": lambda u: u.text or u.value("sentence"),
        **{kind: lambda u, groups=groups: groups.get(u.place) for kind, groups in (heard or {}).items()},
    }
    for kind in (kind for kind in kinds if kind in values):
        plain = plain_name if kind == "text" or (kind == "speaker" and alike) else lambda value: value
        before: dict[Hashable, tuple[Utterance, str]] = {}  # key -> one that has it, and its part
        for part in PARTS:
            mine = [(plain(value), u) for u in parts.get(part, ()) if (value := values[kind](u)) is not None]
            if kind not in BY_SOUND:
                mine = list(dict(mine).items())  # one utterance for each name
            if mine and part != PARTS[0]:
                pairs = [(u, *before[key]) for key, u in mine if key in before]
                names = sorted((_name(kind, values[kind], u, part, *other) for u, *other in pairs), key=natural_key)
                total = len(parts[part]) if kind in BY_SOUND else len(mine)
                noun, what = MESSAGES[kind]
                there = join(dict.fromkeys(there for _, _, there in pairs)) if pairs else ""
                found = f"{len(names)} of {counted(total, noun)} of {part} {'is' if len(names) == 1 else 'are'}"
                yield Shared(kind, part, names, total, f"{found} {what.format(there=there)}: {listed(names)}")
            before = {key: (u, part) for key, u in mine} | before


def _name(kind: str, value: Callable, u: Utterance, part: str, other: Utterance, there: str) -> str:
    """What an utterance `u` of `part` shares with the utterance `other` of part `there`, in words."""
    if kind in BY_SOUND:
        one, two = (f"{v.path}{f' (speaker {v.speaker!r})' if v.speaker else ''}" for v in (other, u))
        return f"{one} in {there} and {two} in {part}"
    if kind == "speaker" and u.speaker != other.speaker:
        return f"{other.speaker!r} in {there} and {u.speaker!r} in {part}, which {ALIKE} ({REMEDY})"
    return repr(value(u))


def imbalances(parts: Parts) -> Iterator[str]:
    """Messages on classes that are missing, and classes and genders whose shares are far from those in train."""
    for column, part in product(("label", "gender"), PARTS[1:]):
        train, mine = ([u.value(column) for u in parts.get(name, ()) if u.value(column)] for name in ("train", part))
        shares = {v: (mine.count(v) / max(1, len(mine)), train.count(v) / max(1, len(train))) for v in {*train, *mine}}
        unlike = {v for v, both in shares.items() if max(both) > FACTOR * min(both) and max(both) * len(mine) >= LEAST}
        unlike |= {v for v, (share, _) in shares.items() if column == "label" and not share}
        if train and mine and unlike and not (column == "gender" and len({u.speaker for u in parts[part]}) == 1):
            found = (f"{v} {shares[v][0]:.0%} ({shares[v][1]:.0%} in train)" for v in sorted(unlike))
            name = "class" if column == "label" else column
            yield f"{name} shares of {part} differ from those of train: {listed(found)}"


def refuse_shared(fold: Fold, utterances: Sequence[Utterance], *, alike: bool = False) -> None:
    """Raise ProtocolError if parts share a speaker (unless the fold's stamp allows it) or a file without a speaker."""
    kinds = ("file",) if fold.stamp == SPEAKER_DEPENDENT_STAMP else ("speaker", "file")
    for shared in audit(fold.parts(utterances), kinds=kinds, alike=alike):
        if shared.names:
            where = f"fold {fold.name!r} of protocol {fold.protocol!r}"
            unless = "unless the protocol allows it: speaker-dependent, or given with speakers: shared"
            raise ProtocolError(f"{where}: {shared.message}; results would be meaningless, {unless}", fold)


def check_fold(fold: Fold, utterances: Sequence[Utterance], heard: Heard) -> Iterator[Problem]:
    """Yield an error for the same audio in two parts, warnings for changed copies and imbalance."""
    parts, remedy = fold.parts(utterances), "remove one, or give --shared_audio allow"
    for shared in audit(parts, heard, BY_SOUND):
        if shared.names:
            text = f"fold {fold.name!r}: {shared.message}; {remedy}"
            yield Problem(f"shared-{shared.kind}", "error" if shared.kind == "audio" else "warning", text, fold.name)
    for message in imbalances(parts):
        yield Problem("imbalance", "warning", f"fold {fold.name!r}: {message}", fold.name)


def refuse_shared_audio(fold: Fold, utterances: Sequence[Utterance], parts: Collection[str] = PARTS) -> list[str]:
    """Raise CorpusError if the same audio is in two of a fold's `parts`; return the warnings of `check_fold`."""
    from toolkit.audio.reading import stretch

    groups: dict[tuple, list[tuple[str, Utterance]]] = {}  # equal in length and middle: only these are read whole
    for part, u in ((part, u) for part, us in fold.parts(utterances).items() if part in parts for u in us):
        sound = stretch(u.path, start_s=u.start, end_s=u.end)
        middle = b"".join(block.tobytes() for block in sound.blocks(sound.frames // 2, sound.frames // 2 + 64))
        groups.setdefault((sound.frames, sound.rate, middle), []).append((part, u))
    read = [u for alike in groups.values() if len({part for part, _ in alike}) > 1 for _, u in alike]
    same = {u.place: sound.digest for u, sound in listen(read) if sound.digest}
    problems = list(check_fold(fold, utterances, {"audio": same}))
    for problem in problems:
        if problem.severity == "error":
            raise CorpusError(problem.message)
    return [problem.message for problem in problems]
