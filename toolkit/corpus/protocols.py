"""Protocols: who trains, who validates, who tests.

A split whose parts share a speaker is refused, unless its protocol says so. What a protocol cannot guarantee is in its
folds' `stamp`: a note on every table, plot and file that comes from them.
"""

import inspect
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from toolkit.corpus.audit import refuse_shared
from toolkit.corpus.folds import PARTS, SPEAKER_DEPENDENT_STAMP, Fold
from toolkit.corpus.utterance import EVAL, SPLITS, Utterance, counted_ids, natural_key, speaker_order
from toolkit.errors import ProtocolError, counted, did_you_mean, listed
from toolkit.recipe.checks import Mismatch, check_value

TEST_EPOCH_STAMP = "loso-test-epoch: the epoch was chosen on the test speaker"
AS_PUBLISHED_STAMP = (
    "loso-as-published: the test speaker also validated, and the partner of the test speaker was in training"
)
RANDOM_STAMP = "random split: speakers may be shared"
UNKNOWN_SPEAKERS_STAMP = "not every utterance has a speaker: whether the parts share one was not fully checked"


def make_folds(utterances: Sequence[Utterance], name: str, **args) -> list[Fold]:
    """Split a corpus into the folds of a protocol (one of PROTOCOLS), in order.

    Args: utterances: all that are used, with their classes as labels; **args: as `arguments_of` lists them.
    Raises: ProtocolError if the corpus lacks what the protocol needs, or a speaker would be in two parts.
    """
    if name not in PROTOCOLS:
        known = ", ".join(PROTOCOLS)
        raise ProtocolError(f"No protocol is called {name!r}.{did_you_mean(name, PROTOCOLS)} Protocols are {known}")
    known = arguments_of(name)
    for argument, value in args.items():
        if argument not in known:
            found = f"protocol {name!r} takes no {argument!r}; it takes {', '.join(known) or 'no arguments'}"
            raise ProtocolError(f"{found}.{did_you_mean(argument, known)}")
        try:
            check_value(value, known[argument])
        except Mismatch as error:
            raise ProtocolError(f"protocol.args.{argument}: {error}") from None
    if twice := [i for i, count in Counter(u.id for u in utterances).items() if count > 1]:
        raise ProtocolError(f"utterance {twice[0]!r} occurs twice; ids have to be unique")
    folds = PROTOCOLS[name](utterances, **args)
    for fold in folds:
        refuse_shared(fold, utterances)
    return folds


def arguments_of(name: str) -> dict[str, Any]:
    """The arguments that a protocol takes: name -> type."""
    parameters = list(inspect.signature(PROTOCOLS[name]).parameters.values())
    return {parameter.name: parameter.annotation for parameter in parameters[1:]}


def selects_on(name: str) -> str:
    """Return the part that chooses the epoch under this protocol: "valid" or "test"."""
    return "test" if name == "loso-test-epoch" else "valid"


def chooses_on_test(name: str) -> bool:
    """Whether the test part chooses the epoch under this protocol, by itself or because it also validates."""
    return selects_on(name) == "test" or name == "loso-as-published"


def stopping_rules(name: str) -> tuple[str, ...]:
    """Return the parts whose patience has to run out before a training under this protocol stops.

    `loso` and `loso-test-epoch` are read from one training; each picks among the epochs up to its own stop only.
    """
    return ("valid", "test") if training_protocol(name) == "loso" else (selects_on(name),)


def training_protocol(name: str) -> str:
    """Return the protocol whose training this one is read from: `loso-test-epoch` is read from that of `loso`."""
    return "loso" if name == "loso-test-epoch" else name


def _loso_as_published(utterances: Sequence[Utterance]) -> list[Fold]:
    name = "loso-as-published"
    speaker_of, speakers = _need_speakers(utterances, name), speaker_order(utterances)
    if len(speakers) < 2:
        raise ProtocolError(f"protocol {name!r} needs two speakers or more")
    return _leave_out(name, speaker_of, {speaker: speaker for speaker in speakers}, AS_PUBLISHED_STAMP)


def _session_out(utterances: Sequence[Utterance]) -> list[Fold]:
    _need_speakers(utterances, "session-out")
    if any(u.session is None for u in utterances):
        raise ProtocolError("protocol 'session-out' needs a session for every utterance; use 'groups' or 'given'")
    return _rotate("session-out", "sessions", {u.id: u.session for u in utterances})


def _groups(utterances: Sequence[Utterance], k: int | None = None) -> list[Fold]:
    """Rotate the groups of column group, else k groups (default 5) into which speakers are dealt, gender by gender."""
    named = sum(u.group is not None for u in utterances)
    if named == len(utterances):
        if k is not None:
            raise ProtocolError("protocol 'groups' uses the corpus's own groups: leave k out of its args")
        return _rotate("groups", "groups", {u.id: u.group for u in utterances}, _unknown_speakers(utterances))
    if named:
        missing = counted_ids([u.id for u in utterances if u.group is None])
        raise ProtocolError(f"the column group is empty for {missing}; fill all or none")
    k = 5 if k is None else k
    speaker_of, speakers = _need_speakers(utterances, "groups"), speaker_order(utterances)
    if not 3 <= k <= len(speakers):
        found = f"protocol 'groups' cannot deal {counted(len(speakers), 'speaker')} into k = {k} groups"
        raise ProtocolError(f"{found}; there have to be three or more, each with a speaker: set protocol.args.k")
    # Men and women alternate in many corpora (RAVDESS): dealt in that order, an even k would separate them.
    gender = {u.speaker: u.gender or "" for u in utterances}
    dealt = sorted(sorted(speakers, key=natural_key), key=lambda s: gender[s])
    group = {s: str(i % k + 1) for i, s in enumerate(dealt)}
    return _rotate("groups", "groups", {i: group[speaker] for i, speaker in speaker_of.items()})


def _given(utterances: Sequence[Utterance], speakers: Literal["apart", "shared"] = "apart") -> list[Fold]:
    missing = [u.id for u in utterances if u.split is None]
    if len(missing) == len(utterances):
        raise ProtocolError(
            "protocol 'given' needs the column split with train, valid and test; without it, use 'groups' (column "
            "group, or speakers dealt into k groups), or 'random' if speakers are unknown"
        )
    if missing:
        raise ProtocolError(f"the column split is empty for {counted_ids(missing)}; fill every row")
    counts = Counter(u.split for u in utterances)
    for value in counts:
        if value not in PARTS:
            near = " It may mean valid or test." if value.lower() in EVAL else did_you_mean(value, SPLITS)
            raise ProtocolError(f"split {value!r} is not one of train, valid, test.{near}")
    for part in PARTS:
        if not counts[part]:
            found = listed(f"{value} ({count})" for value, count in counts.items())
            raise ProtocolError(f"no utterance has split {part!r}; the column has {found}")
    stamp = SPEAKER_DEPENDENT_STAMP if speakers == "shared" else _unknown_speakers(utterances)
    return [Fold("given", "given", **_ids(utterances, lambda u: u.split), stamp=stamp)]


def _speaker_dependent(utterances: Sequence[Utterance], k: int = 5, seed: int = 1) -> list[Fold]:
    """Deal the files of each class, speaker by speaker, into k folds; one tests, the next validates."""
    _need_speakers(utterances, "speaker-dependent")
    dealt, speaker = [], {u.path: u.speaker for u in utterances}
    for label, paths in _files_by_label(utterances).items():
        if not 3 <= k <= len(paths):
            found = f"protocol 'speaker-dependent' cannot deal {len(paths)} files of class {label!r} into k = {k} folds"
            raise ProtocolError(f"{found}; k has to be from 3 to the number of files of the smallest class")
        random.Random(f"{seed}:{label}").shuffle(paths)
        dealt += sorted(paths, key=speaker.get)
    fold = {path: str(i % k + 1) for i, path in enumerate(dealt)}
    fold_of = {u.id: fold[u.path] for u in utterances}
    return _rotate("speaker-dependent", "folds", fold_of, SPEAKER_DEPENDENT_STAMP)


def _random(utterances: Sequence[Utterance], valid: float = 0.1, test: float = 0.2, seed: int = 1) -> list[Fold]:
    """Split every class in the same proportions, keeping the utterances of a file together."""
    if speakers := speaker_order(utterances):
        found = f"protocol 'random' is for corpora without speakers, this one has {len(speakers)}"
        raise ProtocolError(f"{found}: it would put a speaker into two parts; use 'groups'")
    if not (0 < valid < 1 and 0 < test < 1 and valid + test < 1):
        raise ProtocolError(f"protocol 'random': valid {valid} and test {test} have to leave a fraction for training")
    part_of = {}
    for label, paths in _files_by_label(utterances).items():
        if len(paths) < 3:
            raise ProtocolError(f"class {label!r} has {len(paths)} files; three parts need at least three")
        random.Random(f"{seed}:{label}").shuffle(paths)
        n_test = min(max(1, round(test * len(paths))), len(paths) - 2)
        n_valid = min(max(1, round(valid * len(paths))), len(paths) - n_test - 1)
        for i, path in enumerate(paths):
            part_of[path] = "test" if i < n_test else "valid" if i < n_test + n_valid else "train"
    return [Fold("random", "random", **_ids(utterances, lambda u: part_of[u.path]), stamp=RANDOM_STAMP)]


def _files_by_label(utterances: Sequence[Utterance]) -> dict[str, list[Path]]:
    """Sorted label -> the files whose first utterance has it, ordered by that utterance's id."""
    label_of: dict[Path, str] = {}
    for u in sorted(utterances, key=lambda u: u.id):
        label_of.setdefault(u.path, u.label)
    return {label: [path for path in label_of if label_of[path] == label] for label in sorted(set(label_of.values()))}


def _rotate(protocol: str, what: str, group_of: Mapping[str, str], stamp: str | None = None) -> list[Fold]:
    """Make a fold for each value of `group_of`: it tests, the next one in a cycle validates, the others train."""
    names = sorted(set(group_of.values()), key=natural_key)
    if len(names) < 3:
        raise ProtocolError(f"protocol {protocol!r} needs three {what} or more; there are {listed(names)}")
    following = dict(zip(names, [*names[1:], names[0]], strict=True))
    return _leave_out(protocol, group_of, following, stamp)


def _by_partner(utterances: Sequence[Utterance], protocol: str, stamp: str | None) -> list[Fold]:
    """Make a fold for each speaker: it tests, the other one of its session validates, all others train."""
    speaker_of, speakers = _need_speakers(utterances, protocol), speaker_order(utterances)
    session_of: dict[str, str] = {}
    for u in utterances:
        if u.session is None:
            need = f"protocol {protocol!r} validates with the other speaker of the session"
            remedy = "use 'groups' (column group, or speakers dealt into k groups) or 'given'"
            raise ProtocolError(f"{need}, but utterance {u.id!r} has no session; {remedy}")
        if session_of.setdefault(u.speaker, u.session) != u.session:
            found = f"speaker {u.speaker!r} is in sessions {session_of[u.speaker]!r} and {u.session!r}"
            raise ProtocolError(f"{found}: {protocol!r} needs one partner for each; use 'groups' or 'given'")
    sessions: dict[str, list[str]] = {}
    for speaker in speakers:
        sessions.setdefault(session_of[speaker], []).append(speaker)
    for session, members in sessions.items():
        if len(members) != 2:
            found = f"protocol {protocol!r} needs two speakers in each session; {session!r} has {listed(members)}"
            raise ProtocolError(f"{found}; use 'session-out', 'groups' or 'given'")
    if len(sessions) < 2:
        raise ProtocolError(f"protocol {protocol!r} needs two sessions or more; there is only {next(iter(sessions))!r}")
    partners = {speaker: next(s for s in sessions[session_of[speaker]] if s != speaker) for speaker in speakers}
    return _leave_out(protocol, speaker_of, partners, stamp)


def _leave_out(
    protocol: str, group_of: Mapping[str, str], validates: Mapping[str, str], stamp: str | None
) -> list[Fold]:
    """Make a fold for each key of `validates`: it tests, its value validates, other groups train; `group_of`: by id."""
    ids = {name: tuple(i for i, group in group_of.items() if group == name) for name in validates}
    folds = []
    for tested, validating in validates.items():
        train = tuple(i for i, group in group_of.items() if group not in (tested, validating))
        folds.append(Fold(tested, protocol, train, ids[validating], ids[tested], stamp))
    return folds


def _ids(utterances: Sequence[Utterance], part_of: Callable[[Utterance], str]) -> dict[str, tuple[str, ...]]:
    """Part -> ids of its utterances, in order."""
    return {part: tuple(u.id for u in utterances if part_of(u) == part) for part in PARTS}


def _need_speakers(utterances: Sequence[Utterance], protocol: str) -> dict[str, str]:
    """Id of each utterance -> its speaker; ProtocolError if one has none."""
    missing = [u.id for u in utterances if u.speaker is None]
    ways = "fill column speaker, or group (for 'groups') or split (for 'given')"
    if len(missing) == len(utterances):
        found = f"protocol {protocol!r} needs speakers, and the corpus names none"
        raise ProtocolError(f"{found}; {ways}, or use 'random', which every result will note")
    if missing:
        need = f"protocol {protocol!r} needs a speaker for every utterance"
        raise ProtocolError(f"{need}; there is none for {counted_ids(missing)}: {ways}")
    return {u.id: u.speaker for u in utterances}


def _unknown_speakers(utterances: Sequence[Utterance]) -> str | None:
    return UNKNOWN_SPEAKERS_STAMP if any(u.speaker is None for u in utterances) else None


PROTOCOLS: Mapping[str, Callable[..., list[Fold]]] = {
    "loso": lambda utterances: _by_partner(utterances, "loso", None),
    "loso-test-epoch": lambda utterances: _by_partner(utterances, "loso-test-epoch", TEST_EPOCH_STAMP),
    "loso-as-published": _loso_as_published,
    "session-out": _session_out,
    "groups": _groups,
    "given": _given,
    "random": _random,
    "speaker-dependent": _speaker_dependent,
}
