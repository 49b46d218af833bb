"""Read the folds of any project: from a column of a manifest, or from a folder of lists, such as EmoBox's."""

import os
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from toolkit.corpus.folds import PARTS, Heard, Parts, audit, hear, imbalances
from toolkit.corpus.listening import listen
from toolkit.corpus.manifests import SUFFIXES, read_manifest, read_rows, utterance_of_row
from toolkit.corpus.utterance import EVAL, SPLITS, Problem, Utterance, natural_key
from toolkit.errors import AudioError, CorpusError, counted, did_you_mean, join, listed
from toolkit.files import read_text
from toolkit.terminal import say

SPLIT_COLUMNS = ("split", "fold", "group")  # of a manifest; the first that is filled names the parts or the folds
PART = re.compile(rf"(?<![a-z])({'|'.join(SPLITS)})(?![a-z])", re.IGNORECASE)
PLAIN = (".txt", ".lst")  # lists of one path per line
EMOBOX = {"id": "key", "path": "wav", "label": "emo"}
# The speaker in the file names of EmoDB, RAVDESS, CREMA-D and IEMOCAP.
NAMES = (
    r"(\d\d)[abr]\d\d[A-Z][a-z]?|(?:\d\d-){6}(\d\d)|(\d{4})(?:_[A-Z]{3}){2}_[A-Z]{1,2}|(Ses\d\d)[FM]_.+_([FM])[A-Z]*\d+"
)


def read_splits(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    column: str | None = None,
    pattern: str | None = None,
    data_folder: str | Path | None = None,
) -> dict[str, dict[str, list[Utterance]]]:
    """Read folds: name -> train, valid or test -> utterances; docs/auditing-a-split.md explains the arguments."""
    path = Path(os.path.expanduser(path)).absolute()
    lists, files = os.path.isdir(path), _files_by_name(data_folder) if data_folder else {}
    if lists and column:
        raise CorpusError(f"--column {column} is a column of a manifest, and {path} is a folder")
    folds: dict[str, dict[str, list[Utterance]]] = {}
    for fold, part, u in _of_lists(path, columns) if lists else _of_column(path, column, read_manifest(path, columns)):
        folds.setdefault(fold, {name: [] for name in PARTS})[SPLITS[part.lower()]].append(_located(u, files))
    if not folds:
        names = "train.txt, dev_2.lst, emodb_test_fold_1.jsonl"
        raise CorpusError(f"{path} holds no list of a fold, such as {names}, or its lists are empty")
    for fold, parts in folds.items():
        if missing := [part for part in ("train", "test") if not parts[part]]:
            raise CorpusError(f"{path}: fold {fold!r} has nothing in {missing[0]}; folds are {listed(folds)}")
        if len(folds) > 1 and not lists:
            del parts["valid"]  # if folds test in turn, any other one may validate
    return {fold: _with_speakers(fold, parts, pattern) for fold, parts in folds.items()}


def _files_by_name(data_folder: str | Path) -> dict[str, list[Path]]:
    root = Path(os.path.expanduser(data_folder)).absolute()
    if not os.path.isdir(root):
        raise CorpusError(f"The data folder {data_folder} does not exist.")
    files: dict[str, list[Path]] = {}
    for file in root.rglob("*"):
        files.setdefault(file.name, []).append(file)
    return files


def _located(u: Utterance, files_by_name: Mapping[str, list[Path]]) -> Utterance:
    """The utterance, with the path of the file of its name that shares the most parent folders, if that is one file."""
    files = files_by_name.get(u.path.name, [])
    for count in range(2, len(u.path.parts) + 1):
        files = [file for file in files if file.parts[-count:] == u.path.parts[-count:]] or files
    return replace(u, path=files[0]) if len(files) == 1 else u


def _of_column(path: Path, column: str | None, utterances: list[Utterance]) -> Iterator[tuple[str, str, Utterance]]:
    column = column or next((name for name in SPLIT_COLUMNS if any(u.value(name) for u in utterances)), None)
    if column is None:
        raise CorpusError(f"{path}: no column names the parts ({join(SPLIT_COLUMNS, 'or')}): name it with --column")
    if empty := [u for u in utterances if u.value(column) is None]:
        near = did_you_mean(column, empty[0].extra)
        raise CorpusError(f"{path}: the column {column!r} is empty for utterance {empty[0].id!r}.{near}")
    values = sorted({u.value(column) for u in utterances}, key=natural_key)
    parts = list(filter(PART.fullmatch, values))
    if parts and (others := [value for value in values if value not in parts]):
        found = f"the column {column!r} holds {listed(map(repr, others))} beside {listed(map(repr, parts))}"
        raise CorpusError(f"{path}: {found}: name the parts train, valid and test")
    if parts:
        yield from ((column, u.value(column), u) for u in utterances)
    else:
        yield from ((v, "test" if u.value(column) == v else "train", u) for v in values for u in utterances)


def _of_lists(folder: Path, columns: Mapping[str, str] | None) -> Iterator[tuple[str, str, Utterance]]:
    for file in sorted(filter(os.path.isfile, folder.rglob("*")), key=lambda file: natural_key(str(file))):
        part = PART.search(file.stem)
        if file.suffix.lower() not in (*PLAIN, *SUFFIXES):
            continue
        if not part and EVAL & {*re.split("[^a-z]+", file.stem.lower())}:
            raise CorpusError(f"{file} may be validation or test: call the list valid or test, or move it")
        if part:
            rest = re.sub(r"[_.-]{2,}", "_", PART.sub("", file.stem, count=1)).strip("_.-")
            fold = "/".join([*file.parent.relative_to(folder).parts, *filter(None, [rest])]) or folder.name
            for line, row in _rows(file, columns):
                yield fold, part[0], utterance_of_row(file, line, {"label": "-", "id": row.get("path"), **row})


def _rows(file: Path, columns: Mapping[str, str] | None) -> Iterable[tuple[int, dict[str, str]]]:
    if file.suffix.lower() in PLAIN:
        lines = enumerate(read_text(file, "surrogateescape").splitlines(), start=1)
        return ((line, {"path": text.strip()}) for line, text in lines if text.strip())
    emobox = file.suffix.lower() == ".jsonl" and columns is None
    return read_rows(file, required=("path",), columns=EMOBOX if emobox else columns)


def _with_speakers(fold: str, parts: dict[str, list[Utterance]], pattern: str | None) -> dict[str, list[Utterance]]:
    """Set the speakers that a pattern finds; without a pattern, those in known file names, if no speaker is given."""
    try:
        scheme = re.compile(pattern or NAMES)
    except re.error as error:
        raise CorpusError(f"--speaker-pattern {pattern!r} is not a regular expression: {error}") from None
    speaker_of, everyone = {}, [u for us in parts.values() for u in us]
    for u in everyone:
        match = scheme.search(u.id) or scheme.search(str(u.path)) if pattern else scheme.fullmatch(u.path.stem)
        speaker_of[u.place] = "".join(filter(None, match.groups())) if match else ""
        if pattern and not speaker_of[u.place]:
            hint = "a group, (...), has to hold the speaker"
            raise CorpusError(f"--speaker-pattern {pattern!r} finds no speaker in {u.id!r}, {u.path}: {hint}")
    if not all(speaker_of.values()) or (pattern is None and any(u.speaker for u in everyone)):
        return parts
    say(f"{fold}: speakers taken from file names, {speaker_of[everyone[0].place]!r} in {everyone[0].path.name}")
    return {part: [replace(u, speaker=speaker_of[u.place]) for u in us] for part, us in parts.items()}


def audit_splits(folds: Mapping[str, Parts]) -> list[dict[str, Any]]:
    """Audit each fold; the findings are JSON-able. If audio cannot be read, only names are compared."""
    utterances = {u.place: u for parts in folds.values() for us in parts.values() for u in us}
    sounds = listen(list(utterances.values()))
    heard, unread = hear(sounds), {u.place: sound.error for u, sound in sounds if sound.error}
    return [_audit_fold(fold, parts, heard, unread) for fold, parts in folds.items()]


def _audit_fold(fold: str, parts: Parts, heard: Heard, unread: Mapping[Hashable, AudioError]) -> dict[str, Any]:
    facts, problems, everyone = {}, [], [u for us in parts.values() for u in us]
    for part, us in parts.items():
        counts = {column: Counter(u.value(column) for u in us if u.value(column)) for column in ("label", "gender")}
        facts[part] = {"utterances": len(us), "speakers": len({u.speaker for u in us} - {None}), **counts}
    for shared in audit(parts, heard):
        facts[shared.part][f"shared_{shared.kind}"] = {"of": shared.total, "names": shared.names}
        if shared.names:
            severity = "warning" if shared.kind == "text" else "error"
            problems.append(Problem(f"shared-{shared.kind}", severity, shared.message, fold))
    warnings = [("imbalance", message) for message in imbalances(parts)]
    if parts.get("valid") == []:
        warnings.append(("no-validation", "no validation part: one drawn from train shares its speakers"))
    if nameless := sum(not u.speaker for u in everyone):
        found = f"{nameless} of {len(everyone)} utterances lack a speaker"
        warnings.append(("no-speakers", f"not checked: {found} (--speaker-pattern)"))
    if errors := [unread[u.place] for u in everyone if u.place in unread]:
        found = f"the audio of {counted(len(errors), 'utterance')}, {errors[0]}"
        warnings.append(("no-audio", f"not checked: {found}"))
    problems += [Problem(kind, "warning", message, fold) for kind, message in warnings]
    return {"fold": fold, "parts": facts, "problems": list(map(vars, problems))}
