"""Other people's tables: their columns under the names that manifests use."""

import re
from collections.abc import Iterable, Mapping

from toolkit.errors import CorpusError, did_you_mean, listed

_FIELD = re.compile(r"\{([^{}]+)\}")


def check_columns(where: str, found: Iterable[str], columns: Mapping[str, str]) -> None:
    """Raise CorpusError if `columns` takes a name from a column that the table does not have."""
    found = list(found)
    for name, source in columns.items():
        for column in _FIELD.findall(source) or [source or name]:
            if column not in found:
                text = f"{where}: no column {column!r} for {name}; found {listed(found, 30) or 'nothing'}."
                raise CorpusError(f"{text}{did_you_mean(column, found)}")


def renamed(row: Mapping[str, str], columns: Mapping[str, str]) -> dict[str, str]:
    """A row of a table under the names that manifests use; columns that are not mentioned keep theirs.

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
