"""Utterances, which are labelled stretches of audio, their speakers and their labels, which become classes."""

import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from toolkit.errors import CorpusError, counted, did_you_mean, listed

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
ALIKE = "differ only in case, spaces or Unicode form"
VARIANTS = "\ufe0e\ufe0f"  # variation selectors: a symbol as text or in colour
REMEDY = "--normalize true joins them, --normalize false keeps them apart"


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
            raise CorpusError(f"extra may not hold {wrong[0]!r}: it is a field of its own, or empty")
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


def label_faults(
    utterances: Sequence[Utterance], labels: Sequence[str] | None, label_map: Mapping[str, str | None] | None
) -> Iterator[Problem]:
    """An error wherever a corpus's labels and a recipe's `labels` and `label_map` do not fit."""
    label_map = label_map or {}
    mapped = Counter(label_map.get(u.label, u.label) for u in utterances)
    mapped.pop(None, None)
    for label, count in sorted(mapped.items()):
        if labels is not None and label not in labels and label not in label_map.values():
            found = f"label {label!r} ({counted(count, 'utterance')}) is neither in labels ({listed(labels)})"
            key = json.dumps(label, ensure_ascii=False)  # in YAML a bare 1 or null would not be text
            remedy = f"Add {{{key}: null}} to label_map to leave it out, or {{{key}: CLASS}} to count it as CLASS"
            text = f"{found} nor in label_map.{did_you_mean(label, labels)} {remedy}"
            yield Problem("unmapped-label", "error", text, label)
    present = {u.label for u in utterances}
    for label in sorted(label_map.keys() - present) if labels is None else ():  # else a misspelt label is also unmapped
        if near := did_you_mean(label, present - label_map.keys() - set(label_map.values())):
            text = f"label_map names {label!r}, which no utterance has.{near}"
            yield Problem("unknown-label", "error", text, label)
    for label in labels or ():
        if label not in mapped:
            found = listed(f"{label} ({count})" for label, count in sorted(mapped.items())) or "none at all"
            text = f"class {label!r} has no utterance; the corpus has {found}"
            yield Problem("empty-class", "error", text + did_you_mean(label, set(mapped) - set(labels)), label)
    classes = labels or sorted(mapped)
    if len(classes) < 2:
        found = f"only {classes[0]!r}" if classes else "no class"
        text = f"{found} is left after label_map; a classifier needs two classes"
        yield Problem("one-class", "error", text, "labels")


def apply_labels(
    utterances: Sequence[Utterance],
    labels: Sequence[str] | None = None,  # the classes in order; None for all that are left, sorted
    label_map: Mapping[str, str | None] | None = None,  # label of the corpus -> class, or None to leave it out
) -> tuple[list[Utterance], list[str]]:
    """Apply a recipe's `label_map` and `labels`: the utterances kept, with their class as label, and classes in order.

    Raises: CorpusError if a label is neither a class nor mapped, or a class has no utterance.
    """
    if faults := [problem.message for problem in label_faults(utterances, labels, label_map)]:
        more = [f"and {len(faults) - 10} more"] if len(faults) > 10 else []
        raise CorpusError("; ".join([*faults[:10], *more]))
    mapped = [(u, (label_map or {}).get(u.label, u.label)) for u in utterances]
    kept = [u if label == u.label else replace(u, label=label) for u, label in mapped if label is not None]
    return kept, sorted({u.label for u in kept}) if labels is None else list(labels)


def plain_name(name: str) -> str:
    """Reduce a name to what all its spellings share: case, spaces, Unicode form, marks of punctuation."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", plain_marks(name)).casefold())
    return "".join(c for c in text if not c.isspace() and unicodedata.category(c) != "Cf" and c not in VARIANTS) or name


def spellings(names: Iterable[str | None]) -> list[list[str]]:
    """Groups of names that are alike, each of two or more, the most frequent name first, then sorted."""
    alike: dict[str, list[str]] = {}
    counts = Counter(name for name in names if name is not None)
    for name in sorted(counts, key=lambda name: (-counts[name], name)):
        alike.setdefault(plain_name(name), []).append(name)
    return [group for group in alike.values() if len(group) > 1]


def join_names(utterances: Sequence[Utterance], columns: Iterable[str], known: Iterable[str] = ()) -> list[Utterance]:
    """Join names that are alike in columns of a whole corpus: spelled as a `known` label, else as most often."""
    written = {plain_name(name): name for name in known}
    utterances = list(utterances)
    for column in columns:
        groups = spellings([*(u.value(column) for u in utterances), *(known if column == "label" else ())])
        joined = {name: written.get(plain_name(name), group[0]) for group in groups for name in group}
        for index, u in enumerate(utterances):
            name = u.value(column)
            if joined.get(name, name) != name:
                changed = {column: joined[name]}
                utterances[index] = replace(u, **changed if column in COLUMNS else {"extra": {**u.extra, **changed}})
    return utterances


def alike_names(utterances: Sequence[Utterance], columns: Iterable[str]) -> list[Problem]:
    """A warning for each group of names that are alike in one of the columns."""
    return [
        Problem(f"alike-{column}", "warning", f"{column}: {listed(map(repr, group))} {ALIKE}; {REMEDY}", group[0])
        for column in columns
        for group in spellings(u.value(column) for u in utterances)
    ]
