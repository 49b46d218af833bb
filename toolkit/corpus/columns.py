"""Read other people's tables: give their columns the names that manifests use."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

from toolkit.corpus.utterance import COLUMNS
from toolkit.errors import CorpusError, did_you_mean, join, listed

_FIELD = re.compile(r"\{([^{}]+)\}")
_USUAL = {  # names that others give a column, in lower case
    "path": ("file", "filename", "file_name", "filepath", "file_path", "audio", "audio_path", "wav", "fname"),
    "label": ("emotion", "class", "category", "target", "class_name", "classname"),
    "speaker": ("speaker_id", "speakerid", "actor", "actor_id", "subject", "subject_id", "spk"),
    "gender": ("sex",),
}


def check_columns(where: str, found: Iterable[str], columns: Mapping[str, str]) -> None:
    """Raise CorpusError if `columns` refers to a column that the table lacks."""
    found = list(found)
    for name, source in columns.items():
        for column in _FIELD.findall(source) or [source or name]:
            if column not in found:
                text = f"{where}: no column {column!r} for {name}; found {listed(found, 30) or 'nothing'}."
                raise CorpusError(f"{text}{did_you_mean(column, found)}")


def check_names(where: str, names: Iterable[str], required: Sequence[str], columns: Mapping[str, str]) -> None:
    """Refuse a missing required column, and an unknown column that resembles a missing known one."""
    names = list(names)
    missing = [column for column in COLUMNS if column not in names]
    near = {}
    for name in (name for name in names if name not in COLUMNS):
        near |= dict.fromkeys(difflib.get_close_matches(name.lower(), missing, n=1, cutoff=0.8), name)
    lacking = [column for column in required if column in missing]
    if not near.keys() >= set(lacking):
        pairs = {**columns, **dict.fromkeys(lacking, "NAME"), **usual_columns(names), **near}
        found = f"{where}: no column {join(map(repr, lacking))}; found {', '.join(names) or 'nothing'}"
        raise CorpusError(f"{found}. Say which it is: --columns {','.join(map('='.join, pairs.items()))}")
    for column, name in near.items():
        raise CorpusError(f"{where}: unknown column {name!r}. Did you mean {column!r}?")


def usual_columns(found: Iterable[str]) -> dict[str, str]:
    """Guess which columns of a table are manifest columns that it lacks: column -> the table's name for it."""
    found = {name.lower(): name for name in found}
    known = {column: next((found[name] for name in names if name in found), None) for column, names in _USUAL.items()}
    return {column: name for column, name in known.items() if name is not None and column not in found}


def renamed(row: Mapping[str, str], columns: Mapping[str, str]) -> dict[str, str]:
    """Give a row's columns the names that manifests use; columns that are not mentioned keep theirs.

    Args: columns: name -> a column of the table, or a text with columns in braces; "" leaves the column `name` out.

    >>> row = {"folder": "a", "file": "1", "class": "dog", "start": "7"}
    >>> renamed(row, {"path": "{folder}/{file}.wav", "label": "class", "start": ""})
    {'folder': 'a', 'file': '1', 'path': 'a/1.wav', 'label': 'dog'}
    """
    taken = {*columns, *columns.values()}
    kept = {name: value for name, value in row.items() if name not in taken}
    return kept | {name: _filled(source, row) for name, source in columns.items() if source}


def _filled(source: str, row: Mapping[str, str]) -> str:
    fields = {field: row.get(field, "").strip() for field in _FIELD.findall(source)}
    whole = _FIELD.sub(lambda field: fields[field[1]], source) if fields else row.get(source, "")
    return whole if all(fields.values()) else ""
