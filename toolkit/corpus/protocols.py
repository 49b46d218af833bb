"""Protocols: who trains, who validates, who tests. A shared speaker is refused, unless the protocol says so."""

import inspect
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any, Literal

from toolkit.corpus.folds import PARTS, SPEAKER_DEPENDENT_STAMP, Fold, refuse_shared
from toolkit.corpus.utterance import EVAL, SPLITS, Utterance, counted_ids, natural_key, speaker_order
from toolkit.errors import ProtocolError, counted, did_you_mean, listed
from toolkit.recipe.checks import Mismatch, check_value

STAMPS = {  # what a protocol cannot guarantee, noted on every table, plot and file that comes from its folds
    "loso-test-epoch": "loso-test-epoch: the epoch was chosen on the test speaker",
    "loso-as-published": (
        "loso-as-published: the test speaker also validated, and the partner of the test speaker was in training"
    ),
    "random": "random split: speakers may be shared",
    "speaker-dependent": SPEAKER_DEPENDENT_STAMP,
}
UNKNOWN_SPEAKERS_STAMP = "not every utterance has a speaker: whether the parts share one was not fully checked"

Splits = dict[str, tuple[list[str], list[str], list[str]]]  # fold -> ids of train, valid and test


def make_folds(utterances: Sequence[Utterance], name: str, **args) -> list[Fold]:
    """The folds of a protocol, from utterances with their classes as labels; ProtocolError if it cannot split them."""
    if name not in PROTOCOLS:
        near = did_you_mean(name, PROTOCOLS)
        raise ProtocolError(f"No protocol is called {name!r}.{near} Protocols are {listed(PROTOCOLS)}")
    known = arguments_of(name)
    for argument, value in args.items():
        if argument not in known:
            takes = f"{listed(known) or 'no arguments'}.{did_you_mean(argument, known)}"
            raise ProtocolError(f"protocol {name!r} takes no {argument!r}; it takes {takes}")
        try:
            check_value(value, known[argument])
        except Mismatch as error:
            raise ProtocolError(f"protocol.args.{argument}: {error}") from None
    if twice := [i for i, count in Counter(u.id for u in utterances).items() if count > 1]:
        raise ProtocolError(f"utterance {twice[0]!r} occurs twice; ids have to be unique")
    try:
        splits = PROTOCOLS[name](utterances, **args)
    except ProtocolError as error:
        raise ProtocolError(f"protocol {name!r} {error}") from None
    unknown = UNKNOWN_SPEAKERS_STAMP if any(u.speaker is None for u in utterances) else None
    stamp = SPEAKER_DEPENDENT_STAMP if args.get("speakers") == "shared" else STAMPS.get(name, unknown)
    folds = [Fold(fold, name, *map(tuple, parts), stamp) for fold, parts in splits.items()]
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
    """The parts whose patience has to run out before a training, which `loso` and `loso-test-epoch` share, stops."""
    return ("valid", "test") if training_protocol(name) == "loso" else (selects_on(name),)


def training_protocol(name: str) -> str:
    """Return the protocol whose training this one is read from: `loso-test-epoch` is read from that of `loso`."""
    return "loso" if name == "loso-test-epoch" else name


def _loso(utterances: Sequence[Utterance]) -> Splits:
    """Test each speaker; the other one of the session validates."""
    speaker_of, session_of = _needed(utterances, "speaker"), _needed(utterances, "session")
    sessions: dict[str, set[str]] = {}
    for i, speaker in speaker_of.items():
        sessions.setdefault(session_of[i], set()).add(speaker)
    need = "needs two sessions or more, each of two speakers who are in no other"
    others = "use 'session-out', 'groups' or 'given'"
    for session, members in sessions.items():
        if len(members) != 2:
            raise ProtocolError(f"{need}; in {session!r} are {listed(sorted(members))}: {others}")
    partners = {speaker: other for pair in sessions.values() for speaker, other in permutations(pair)}
    if len(sessions) < 2 or len(partners) < 2 * len(sessions):
        raise ProtocolError(f"{need}; there are {counted(len(partners), 'speaker')} in {listed(sessions)}: {others}")
    return _leave_out(speaker_of, {who: partners[who] for who in speaker_order(utterances)})


def _session_out(utterances: Sequence[Utterance]) -> Splits:
    _needed(utterances, "speaker")
    return _rotate("sessions", _needed(utterances, "session"))


def _groups(utterances: Sequence[Utterance], k: int | None = None) -> Splits:
    """Rotate the groups of column group, else k groups (default 5) into which speakers are dealt, gender by gender."""
    if any(u.group for u in utterances):
        if k is not None:
            raise ProtocolError("uses the corpus's own groups: leave k out of its args")
        return _rotate("groups", _needed(utterances, "group"))
    k = 5 if k is None else k
    speaker_of, speakers = _needed(utterances, "speaker"), speaker_order(utterances)
    if not 3 <= k <= len(speakers):
        found = f"cannot deal {counted(len(speakers), 'speaker')} into k = {k} groups"
        raise ProtocolError(f"{found}; there have to be three or more, each with a speaker: set protocol.args.k")
    # Men and women alternate in many corpora (RAVDESS): dealt in that order, an even k would separate them.
    gender = {u.speaker: u.gender or "" for u in utterances}
    dealt = sorted(speakers, key=lambda speaker: (gender[speaker], natural_key(speaker)))
    group = {speaker: str(i % k + 1) for i, speaker in enumerate(dealt)}
    return _rotate("groups", {i: group[speaker] for i, speaker in speaker_of.items()})


def _given(utterances: Sequence[Utterance], speakers: Literal["apart", "shared"] = "apart") -> Splits:
    """Take the column split; if `speakers` may be shared, the stamp says so."""
    part_of = _needed(utterances, "split")
    for value in sorted({*part_of.values()} - {*PARTS}):
        near = " It may mean valid or test." if value.lower() in EVAL else did_you_mean(value, SPLITS)
        raise ProtocolError(f"reads the column split: {value!r} is not one of train, valid, test.{near}")
    return {"given": _leave_out(part_of, {"test": "valid"})["test"]}


def _speaker_dependent(utterances: Sequence[Utterance], k: int = 5, seed: int = 1) -> Splits:
    """Deal the files of each class, speaker by speaker, into k folds; one tests, the next validates."""
    _needed(utterances, "speaker")
    dealt, speaker = [], {u.path: u.speaker for u in utterances}
    for label, paths in _files_by_label(utterances).items():
        if not 3 <= k <= len(paths):
            raise ProtocolError(f"cannot deal {len(paths)} files of class {label!r} into k = {k} folds, at least 3")
        random.Random(f"{seed}:{label}").shuffle(paths)
        dealt += sorted(paths, key=speaker.get)
    fold = {path: str(i % k + 1) for i, path in enumerate(dealt)}
    return _rotate("folds", {u.id: fold[u.path] for u in utterances})


def _random(utterances: Sequence[Utterance], valid: float = 0.1, test: float = 0.2, seed: int = 1) -> Splits:
    """Split every class in the same proportions, keeping the utterances of a file together."""
    if speakers := speaker_order(utterances):
        raise ProtocolError(f"is for corpora without speakers, and there are {len(speakers)}: use 'groups'")
    if not (0 < valid < 1 and 0 < test < 1 and valid + test < 1):
        raise ProtocolError(f"takes fractions: valid {valid} and test {test} have to leave one for training")
    part_of = {}
    for label, paths in _files_by_label(utterances).items():
        if len(paths) < 3:
            raise ProtocolError(f"needs three files of each class; {label!r} has {len(paths)}")
        random.Random(f"{seed}:{label}").shuffle(paths)
        n_test = min(max(1, round(test * len(paths))), len(paths) - 2)
        n_valid = min(max(1, round(valid * len(paths))), len(paths) - n_test - 1)
        for i, path in enumerate(paths):
            part_of[path] = "test" if i < n_test else "valid" if i < n_test + n_valid else "train"
    return {"random": _leave_out({u.id: part_of[u.path] for u in utterances}, {"test": "valid"})["test"]}


def _files_by_label(utterances: Sequence[Utterance]) -> dict[str, list[Path]]:
    """Sorted label -> the files whose first utterance has it, ordered by that utterance's id."""
    label_of: dict[Path, str] = {}
    for u in sorted(utterances, key=lambda u: u.id):
        label_of.setdefault(u.path, u.label)
    return {label: [path for path in label_of if label_of[path] == label] for label in sorted(set(label_of.values()))}


def _rotate(what: str, group_of: Mapping[str, str]) -> Splits:
    """Test each group; the next one in a cycle validates."""
    names = sorted(set(group_of.values()), key=natural_key)
    if len(names) < 3:
        raise ProtocolError(f"needs three {what} or more; there are {listed(names)}")
    return _leave_out(group_of, dict(zip(names, [*names[1:], names[0]], strict=True)))


def _leave_out(group_of: Mapping[str, str], validates: Mapping[str, str]) -> Splits:
    """Test each key of `validates`; its value validates, the other groups train. `group_of`: by utterance."""
    folds: Splits = {}
    for tests, valid in validates.items():
        train = [i for i, group in group_of.items() if group not in (tests, valid)]
        validating, testing = ([i for i, group in group_of.items() if group == name] for name in (valid, tests))
        folds[tests] = train, validating, testing
    return folds


def _needed(utterances: Sequence[Utterance], column: str) -> dict[str, str]:
    """Id of each utterance -> its value in a column; ProtocolError if one has none."""
    if missing := [u.id for u in utterances if u.value(column) is None]:
        found = f"needs the column {column}, and it is empty for {counted_ids(missing)}"
        others = "'groups' (column speaker or group), 'given' (column split), or 'random' if no speaker is known"
        raise ProtocolError(f"{found}: fill it, or use another protocol: {others}")
    return {u.id: u.value(column) for u in utterances}


PROTOCOLS: Mapping[str, Callable[..., Splits]] = {
    "loso": _loso,
    "loso-test-epoch": _loso,
    "loso-as-published": lambda us: _leave_out(_needed(us, "speaker"), {who: who for who in speaker_order(us)}),
    "session-out": _session_out,
    "groups": _groups,
    "given": _given,
    "random": _random,
    "speaker-dependent": _speaker_dependent,
}
