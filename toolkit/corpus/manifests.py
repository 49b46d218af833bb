"""Manifests: tables of utterances; docs/corpora.md describes them."""

import csv
import difflib
import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from toolkit.corpus.utterance import COLUMNS, EVAL, SPLITS, Utterance
from toolkit.errors import CorpusError, did_you_mean, join, listed
from toolkit.files import csv_text, read_text, without_repeated_keys

REQUIRED = ("path", "label")
SUFFIXES = (".csv", ".tsv", ".json", ".jsonl")
SHOWN = 5  # wrong rows that a message names
BEFORE_OBJECTS, BETWEEN_OBJECTS = re.compile(r"\s*(\[?)"), re.compile(r"[\s,]*")
# Durations as pandas and Python write them: 0 days 00:00:01.500, 1 day, 0:00:01, 0 days.
DURATION = re.compile(r"(?:(\d+) days?)?(?:,? ?(\d+):([0-5]\d):([0-5]\d(?:\.\d*)?))?")
FIELD = re.compile(r"\{([^{}]+)\}")
USUAL = {  # names that other projects give a column, in lower case
    "path": ("file", "filename", "file_name", "filepath", "file_path", "audio", "audio_path", "wav", "fname"),
    "label": ("emotion", "class", "category", "target", "class_name", "classname"),
    "speaker": ("speaker_id", "speakerid", "actor", "actor_id", "subject", "subject_id", "spk"),
    "gender": ("sex",),
}

Rows = list[tuple[int, dict[str, str]]]  # line numbers and rows as text, by column


def read_manifest(path: str | Path, columns: Mapping[str, str] | None = None) -> list[Utterance]:
    """Read a manifest, .csv, .tsv, .json, .jsonl or a folder of class folders; audio files are not opened.

    Args: columns: the file's own names if they differ, as for `renamed`.
    Raises: CorpusError: one line with file and line number; of several wrong rows it names the first few.
    """
    path = Path(os.path.expanduser(path)).absolute()
    faults: list[str] = []
    lines, utterances = {}, []
    for line, row in _with_ids(read_rows(path, columns=columns)):
        try:
            u = utterance_of_row(path, line, row)
            if first := lines.get(u.id):  # perhaps the same line, in JSON
                found = f"the same stretch of a file, or the same id, is on line {first} already"
                raise CorpusError(f"{path}:{line}: {found}; remove the row or give different ids")
            lines[u.id] = line
            utterances.append(u)
        except CorpusError as error:
            faults.append(str(error))
    if faults:
        first, *others = faults[:SHOWN]
        named = [fault.replace(f"{path}:", "line ", 1) for fault in others]
        more = [f"and {len(faults) - SHOWN} more wrong rows"] if len(faults) > SHOWN else []
        raise CorpusError("; ".join([first, *named, *more]))
    return utterances


def read_rows(
    path: str | Path, *, required: Sequence[str] = REQUIRED, columns: Mapping[str, str] | None = None
) -> Rows:
    """The rows of a manifest; other arguments and errors as for `read_manifest`."""
    path = Path(os.path.expanduser(path)).absolute()
    if os.path.isdir(path) and not columns:
        return list(enumerate(_folder_rows(path), start=1))
    if not os.path.isfile(path):
        near = did_you_mean(path.name, [file.name for file in path.parent.glob("*.*") if file.suffix in SUFFIXES])
        need = f"a .csv or .json file is needed, with the columns {join(required)}"
        raise CorpusError(f"No manifest at {path}; {need}.{near}")
    if path.suffix.lower() not in SUFFIXES:
        raise CorpusError(f"{path}: a manifest ends in {join(SUFFIXES, 'or')}, not in {path.suffix or 'nothing'!r}")
    try:
        text = read_text(path)
    except (UnicodeDecodeError, OSError) as error:
        raise CorpusError(f"{path}: cannot be read as UTF-8 text: {error}; in Excel, save as CSV UTF-8") from None
    rows = (_json_rows if path.suffix.lower().startswith(".json") else _csv_rows)(path, text)
    if not rows:
        raise CorpusError(f"{path}: holds no utterance")
    _check_columns(path, list(dict.fromkeys(name for _, row in rows for name in row)), required, columns or {})
    return [(line, renamed(row, columns or {})) for line, row in rows]


def file_and_times(manifest: Path, row: Mapping[str, str | None]) -> tuple[Path, float | None, float | None]:
    """The audio file that a row of a manifest names, and start and end in seconds; CorpusError if one is not valid."""
    name = (row.get("path") or "").strip()
    if not name:
        raise CorpusError("path is empty")
    return manifest.parent / name, _seconds(row, "start"), _seconds(row, "end")


def _seconds(row: Mapping[str, str | None], column: str) -> float | None:
    text = (row.get(column) or "").strip()
    if text in ("", "NaT"):
        return None
    if duration := DURATION.fullmatch(text):
        days, hours, minutes, seconds = (float(part or 0) for part in duration.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    try:
        return float(text)
    except ValueError:
        raise CorpusError(f"{column} is {text!r}; seconds are needed, for example 1.25, or 0:00:01.25") from None


def manifest_text(utterances: Sequence[Utterance], path: Path) -> str:
    """A manifest as CSV, which `read_manifest` reads back exactly from `path`; paths are relative to its folder."""
    further = dict.fromkeys(key for u in utterances for key in u.extra)
    rows = [[*COLUMNS, *further]]
    for u in utterances:
        inside = u.path.is_relative_to(path.parent)
        known = vars(u) | {"path": u.path.relative_to(path.parent).as_posix() if inside else str(u.path)}
        rows.append([*(known[column] for column in COLUMNS), *(u.extra.get(column) for column in further)])
    return csv_text(rows)


def _folder_rows(folder: Path) -> Iterator[dict[str, str]]:
    """A row for each audio file in class folders (dog/a.wav), or in those of a split's parts (train/dog/a.wav)."""
    from toolkit.audio.reading import AUDIO_SUFFIXES, files_below

    faults: list[str] = []
    files = [file for file in files_below(folder, faults.append) if file.suffix.lower() in AUDIO_SUFFIXES]
    parents = {file: [*file.relative_to(folder).parts[:-1]] for file in files}
    tops = {above[0].lower() for above in parents.values() if above}
    parts = tops & {*SPLITS, *EVAL}
    split = tops == parts
    if not split and any(above[0].lower() in parts for above in parents.values() if len(above) > 1):
        faults.append(f"{min(parts)!r} is a part of a split, and {min(tops - parts)!r} is not")
    if split and tops & EVAL:
        faults.append("eval may be validation or test: call the folder valid or test")
    faults += [f"{file.name} is in no class folder" for file, above in parents.items() if len(above) <= split]
    if faults or not files:
        need = "a folder of recordings for each class is needed, in all parts of a split or without parts"
        raise CorpusError(f"{folder}: {need}; {faults[0] if faults else 'it holds no recording'}")
    for file, above in parents.items():
        part = {"split": above.pop(0)} if split else {}
        yield {"path": str(file.relative_to(folder.parent)), "label": above[0], **part}


def _csv_rows(path: Path, text: str) -> Rows:
    """Read a table; its separator is the one that is most frequent in the header."""
    separator = max(",;\t|", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    line, rows = 1, []
    try:
        header = [name.strip() for name in next(reader, [])]
        if len(header) > 1 and not header[-1]:
            header.pop()  # as a spreadsheet leaves it; in the rows it has to be empty too
        if header[:1] == [""]:
            header[0] = "level_0" if "index" in header else "index"  # pandas leaves it without a name
        if "" in header or len({*header}) < len(header):
            raise CorpusError(f"{path}:1: a column has no name, or two have the same: {', '.join(header)}")
        line = reader.line_num + 1
        for cells in reader:
            if any(cell.strip() for cell in cells):
                if separator == "\t" and any("\t" in cell and "\n" in cell for cell in cells):
                    raise CorpusError(f"{path}:{line}: a quotation mark opens a field of several lines: remove it")
                if len(cells) > len(header) and not cells[-1].strip():
                    cells.pop()
                if len(cells) != len(header):
                    raise CorpusError(f"{path}:{line}: {len(cells)} fields, but the header has {len(header)}")
                rows.append((line, dict(zip(header, cells, strict=True))))
            line = reader.line_num + 1
    except csv.Error as error:
        raise CorpusError(f"{path}:{line}: not CSV: {error}") from None
    return rows


def _json_rows(path: Path, text: str) -> Rows:
    """Decode an array of objects, or objects alone, object by object, to know the line number of each."""
    decoder, rows = json.JSONDecoder(object_pairs_hook=without_repeated_keys), []
    start = BEFORE_OBJECTS.match(text)
    line, counted, end = 1, 0, start.end()
    while (at := BETWEEN_OBJECTS.match(text, end).end()) < len(text) and text[at] != "]":
        line, counted = line + text.count("\n", counted, at), at
        try:
            row, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"{path}:{line}: not JSON: {error}") from None
        if not isinstance(row, dict):
            raise CorpusError(f"{path}:{line}: an object is needed, not {text[at:end][:40]}")
        rows.append((line, {key.strip(): _text(f"{path}:{line}: {key!r}", value) for key, value in row.items()}))
    if text[at:].strip() != start[1].replace("[", "]"):
        raise CorpusError(f"{path}: not JSON: it ends before its array, or continues after it")
    return rows


def _text(where: str, value: Any) -> str:
    if isinstance(value, dict | list):
        raise CorpusError(f"{where} has to be text or a number, not {json.dumps(value)[:40]}")
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _with_ids(rows: Rows) -> Rows:
    """Give the rows without an id the shortest of five names that is unique."""
    given = Counter(row["id"].strip() for _, row in rows if row.get("id", "").strip())
    nameless, options = [row for _, row in rows if not row.get("id", "").strip()], []
    for row in nameless:
        file = PurePath(row.get("path", "").strip())
        whole = file.with_suffix("").as_posix() if file.name else ""
        times = f"@{row.get('start', '').strip()}-{row.get('end', '').strip()}"
        options.append((file.stem, whole, f"{file}", f"{whole}{times}", f"{file}{times}"))
    seen = [Counter(names) + given for names in zip(*options, strict=True)]
    for row, names in zip(nameless, options, strict=True):
        row["id"] = next((name for name, count in zip(names, seen, strict=True) if count[name] == 1), names[-1])
    return rows


def utterance_of_row(path: Path, line: int, row: Mapping[str, str]) -> Utterance:
    """Make an utterance from a manifest's row; CorpusError with file and line if a value is not valid."""
    values: dict = {column: row.get(column) for column in COLUMNS}
    try:
        values["path"], values["start"], values["end"] = file_and_times(path, row)
        return Utterance(**values, extra={name: value for name, value in row.items() if name not in COLUMNS})
    except CorpusError as error:
        raise CorpusError(f"{path}:{line}: {error}") from None


def _check_columns(path: Path, found: list[str], required: Sequence[str], columns: Mapping[str, str]) -> None:
    """Raise CorpusError if a column of `required` or `columns` is missing, or another name is almost a column's."""
    for name, source in columns.items():
        for column in FIELD.findall(source) or [source or name]:
            if column not in found:
                text = f"{path}: no column {column!r} for {name}; found {listed(found, 30)}."
                raise CorpusError(f"{text}{did_you_mean(column, found)}")
    names = list(renamed(dict.fromkeys(found, ""), columns))
    missing, near = [column for column in COLUMNS if column not in names], {}
    for name in (name for name in names if name not in COLUMNS):
        near |= dict.fromkeys(difflib.get_close_matches(name.lower(), missing, n=1, cutoff=0.8), name)
    needed = [column for column in required if column in missing]
    if not near.keys() >= set(needed):
        pairs = {**columns, **dict.fromkeys(needed, "NAME"), **usual_columns(names), **near}
        text = f"{path}: no column {join(map(repr, needed))}; found {', '.join(names)}"
        raise CorpusError(f"{text}. Say which it is: --columns {','.join(map('='.join, pairs.items()))}")
    for column, name in near.items():
        raise CorpusError(f"{path}: unknown column {name!r}. Did you mean {column!r}?")


def usual_columns(found: Iterable[str]) -> dict[str, str]:
    """Guess which columns of a table are manifest columns that it lacks: column -> the table's name for it."""
    found = {name.lower(): name for name in found}
    known = {column: next((found[name] for name in names if name in found), None) for column, names in USUAL.items()}
    return {column: name for column, name in known.items() if name is not None and column not in found}


def renamed(row: Mapping[str, str], columns: Mapping[str, str]) -> dict[str, str]:
    """A row under the names of manifests: {"path": "{folder}/{file}.wav", "label": "class"}; "" leaves a column out."""
    taken = {*columns, *columns.values()}
    kept = {name: value for name, value in row.items() if name not in taken}
    for name, source in columns.items():
        fields = {field: row.get(field, "").strip() for field in FIELD.findall(source)}
        whole = FIELD.sub(lambda field, values=fields: values[field[1]], source) if fields else row.get(source, "")
        if source:
            kept[name] = whole if all(fields.values()) else ""
    return kept
