"""Any corpus, from a manifest."""

import os
from pathlib import Path

from toolkit.corpus import Corpus, Utterance, read_manifest
from toolkit.errors import CorpusError


class Manifest(Corpus):
    """A CSV or JSON file with the path and label of every utterance, and further columns; or a folder for each class.

    Known columns: id, path, label, start, end, speaker, gender, session, group, split, text.

    Args:
        columns: the file's own column names: known name -> column, or a template with columns in braces, such as
            {path: "audio/fold{fold}/{file}", label: class}; an empty text leaves a column out.
        path: the manifest, or the folder of class folders; relative to the data folder if one is given, else to the
            working directory. Without it the data folder is the manifest itself or holds manifest.csv or manifest.json.
    """

    def __init__(self, *, path: str | None = None, columns: dict[str, str] | None = None):
        self.path, self.columns = path, columns

    def read(self, folder: Path | None) -> list[Utterance]:
        """Read it; see `toolkit.corpus.read_manifest`."""
        return read_manifest(self.find(folder), self.columns)

    def find(self, folder: Path | None) -> Path:
        """Return the manifest's path; CorpusError where there is none."""
        folder = None if folder is None else Path(os.path.expanduser(folder))
        if self.path is not None:
            base = folder if folder is not None and os.path.isdir(folder) else Path()
            return base / os.path.expanduser(self.path)
        if folder is None:
            raise CorpusError(
                "corpus 'manifest' needs --manifest FILE, args: {path: FILE}, or --data_folder with a manifest.csv"
            )
        if not os.path.isdir(folder):
            return folder
        for name in ("manifest.csv", "manifest.json"):
            if os.path.isfile(folder / name):
                return folder / name
        found = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in (".csv", ".json"))
        if not found:
            return folder  # perhaps with a folder for each class
        raise CorpusError(
            f"{folder} holds no manifest.csv or manifest.json; it holds {', '.join(found[:5])}: name one with args: "
            "{path: ...}"
        )
