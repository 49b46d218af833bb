"""Utterances, which are labelled stretches of audio, the order of their speakers, and faults of a corpus."""

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from toolkit.errors import CorpusError, counted

COLUMNS = ("id", "path", "label", "start", "end", "speaker", "gender", "session", "group", "split", "text")
MIN_SAMPLES = 400  # one analysis window at 16 kHz; shorter audio is padded with silence
GENDERS = {"f": "F", "female": "F", "m": "M", "male": "M"}
SPLITS = {  # spelling of a split's part, in any case -> its name
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "validation", "val", "dev", "devel", "development"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}
EVAL = {"eval", "evaluation"}  # means valid to some, and test to others
MARKS = dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u2035\u02b9\u02bb\u02bc\u02bd\u02be\u02bf\u02c8\u00b4`", "'")
MARKS |= dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"')
MARKS |= {"\u2212": "-", "\u2043": "-", "\u2044": "/", "\u2215": "/"}


@dataclass(frozen=True)
class Utterance:
    """One labelled stretch of audio and its metadata.

    White space around names is dropped, an empty text is None, `path` becomes absolute, `gender` "F" or "M".

    Raises: CorpusError if a field has no valid value.
    """

    id: str  # unique in its corpus
    path: Path
    label: str  # the class, as the corpus has it (before a recipe's label_map)
    start: float | None = None  # where it begins in the file, in seconds; None is the beginning of the file
    end: float | None = None  # None is its end
    speaker: str | None = None
    gender: str | None = None  # of the speaker: f, female, m, male in any case
    session: str | None = None  # of the recording; `loso` validates with the other speaker of the session
    group: str | None = None  # the fold's name in protocol `groups`
    split: str | None = None  # for protocol `given`: train, valid or test, also as SPLITS has them
    text: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict, hash=False)  # further columns of a manifest, name -> text

    def __post_init__(self):
        for name in ("id", "label", "speaker", "gender", "session", "group", "split"):
            object.__setattr__(self, name, self.value(name))
        if not self.id or not self.label:
            raise CorpusError(f"{'label' if self.id else 'id'} is empty; every utterance needs one")
        object.__setattr__(self, "path", Path(self.path).absolute())
        if self.gender and self.gender.lower() not in GENDERS:
            raise CorpusError(f"gender {self.gender!r} of {self.id!r} is not f, female, m or male, nor empty")
        object.__setattr__(self, "gender", self.gender and GENDERS[self.gender.lower()])
        object.__setattr__(self, "split", self.split and SPLITS.get(self.split.lower(), self.split))
        object.__setattr__(self, "text", self.text or None)
        for name in ("start", "end"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise CorpusError(f"{name} is {value}; seconds from the beginning of the file are needed")
        if self.end is not None and self.end <= (self.start or 0):
            raise CorpusError(f"end {self.end} s is not after start {self.start or 0} s")
        extra = {str(k).strip(): str(v) for k, v in self.extra.items() if v not in (None, "")}
        if wrong := [key for key in extra if key in COLUMNS or not key]:
            raise CorpusError(f"extra may not hold {wrong[0]!r}: it is a field, or no name")
        object.__setattr__(self, "extra", extra)

    @property
    def place(self) -> tuple[Path, float | None, float | None]:
        """Where its audio is: file, start and end."""
        return self.path, self.start, self.end

    def value(self, column: str) -> str | None:
        """The value in a column of the manifest, further columns included; None if it is empty."""
        value = getattr(self, column) if column in COLUMNS else self.extra.get(column)
        return None if value is None else str(value).strip() or None


@dataclass(frozen=True)
class Problem:
    """A fault of a corpus, in a file, label or speaker; an "error" would stop or spoil a training."""

    kind: str
    severity: Literal["error", "warning"]
    message: str
    where: str


def plain_marks(text: str) -> str:
    """Replace all forms of dashes, quotation marks and slashes by those of a keyboard."""
    return "".join("-" if unicodedata.category(c) == "Pd" else MARKS.get(c, c) for c in text)


def counted_ids(ids: Sequence[str]) -> str:
    """Name utterances in a message: how many, and the first."""
    return f"{counted(len(ids), 'utterance')} ({ids[0]!r} first)" if len(ids) > 1 else f"utterance {ids[0]!r}"


def natural_key(text: str) -> tuple:
    """A sort key that reads numbers as numbers: Session9, Session10."""
    parts = re.split(r"([0-9]+)", text)
    return (*((0, int(p), "") if i % 2 else (1, 0, p) for i, p in enumerate(parts) if p), (2, 0, text))


def speaker_order(utterances: Iterable[Utterance]) -> list[str]:
    """List the speakers in natural order; if each has one session, by session, then men first: 1M, 1F, 2M."""
    facts = {(u.session, u.gender, u.speaker) for u in utterances if u.speaker is not None}
    speakers = {speaker for _, _, speaker in facts}
    if len(speakers) < len(facts) or any(session is None for session, _, _ in facts):
        return sorted(speakers, key=natural_key)
    men_first = ("M", "F", None).index
    order = sorted(facts, key=lambda fact: (natural_key(fact[0]), men_first(fact[1]), natural_key(fact[2])))
    return [speaker for _, _, speaker in order]
