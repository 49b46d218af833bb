"""Any database in audformat (audeering.github.io/audformat)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

from toolkit.corpus import Corpus, Utterance
from toolkit.errors import CorpusError, did_you_mean, listed, one_line

_SPLITS = {"train": "train", "dev": "valid", "test": "test"}


@contextmanager
def _one_line(refused: str) -> Iterator[None]:
    """Raises: CorpusError, with the reason, in place of the errors of many kinds that the library raises."""
    try:
        yield
    except Exception as error:
        raise CorpusError(f"{refused} ({one_line(error)[:200]})") from None


class Audformat(Corpus):
    """A database in audformat, such as those of audb: its labels, speakers, genders and splits.

    Column split holds the splits train, dev and test of its tables, for protocol `given`; if a database lacks any of
    them, `groups` deals the speakers. Rows without a label are left out. It needs the package audformat.

    Args:
        label: the scheme or column of the labels.
        tables: the tables with the labels; all tables by default.
        speaker: the scheme or column of the speakers.
        gender: the scheme or column of the genders; values other than female and male are left empty.
    """

    def __init__(
        self,
        *,
        label: str = "emotion",
        tables: list[str] | None = None,
        speaker: str = "speaker",
        gender: str = "gender",
    ):
        self.label, self.tables, self.speaker, self.gender = label, tables, speaker, gender

    def read(self, folder: Path | None) -> list[Utterance]:
        """Read the tables of the database whose db.yaml lies in the folder."""
        root = None if folder is None else Path(os.path.expanduser(folder)).absolute()
        if root is None or not os.path.isfile(root / "db.yaml"):
            raise CorpusError(f"corpus 'audformat' needs --data_folder: a folder with db.yaml, not {folder}")
        try:
            from audformat import Database, utils
        except ImportError as error:
            raise CorpusError(
                f"corpus 'audformat': {error}; pip install 'audio-classification-toolkit[audformat]'"
            ) from None
        with _one_line(f"{root} cannot be read as a database"):
            database = Database.load(str(root))
        for name in self.tables or ():
            if name not in database.tables:
                found = f"{root}: no table {name!r}; found {listed(database.tables)}"
                raise CorpusError(f"{found}.{did_you_mean(name, database.tables)}")
        with _one_line(f"{root}: the labels cannot be read; choose their tables with args: {{tables: [...]}}"):
            frame = database.get(self.label, [self.speaker, self.gender], tables=self.tables)
            indices = {
                name: database.get(self.label, tables=self.tables, splits=[name]).index for name in database.splits
            }
        frame = frame.dropna(subset=[self.label])
        if frame.empty:
            found = f"{root}: no row has a label of scheme {self.label!r}; found schemes {listed(database.schemes)}"
            raise CorpusError(f"{found}: name one with args: {{label: ...}}")
        frame.index = utils.to_segmented_index(frame.index)
        split_of = {}
        for name, split in database.splits.items():
            part = utils.to_segmented_index(indices[name])
            if twice := [key[0] for key in part if key in split_of]:
                raise CorpusError(f"{root}: {twice[0]} is in split {name!r} and in another; choose the tables")
            split_of |= dict.fromkeys(part, _SPLITS.get(split.type))
        utterances = []
        for key, row in frame.iterrows():
            file, start, end = key
            start_s = start.total_seconds() or None
            end_s = None if end != end else end.total_seconds()  # NaT is not equal to itself
            values = {name: str(value) for name, value in row.dropna().items()}
            gender = values.get(self.gender)
            name = PurePath(file).with_suffix("").as_posix()
            if start_s is not None or end_s is not None:
                name += f"@{start_s or ''}-{'' if end_s is None else end_s}"
            utterances.append(
                Utterance(
                    id=name,
                    path=root / file,
                    label=values[self.label],
                    start=start_s,
                    end=end_s,
                    speaker=values.get(self.speaker),
                    gender=gender if gender in ("female", "male") else None,
                    split=split_of.get(key),
                )
            )
        return utterances
