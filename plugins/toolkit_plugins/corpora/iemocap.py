"""IEMOCAP from its release; the synthetic corpus, which has the same shape, is read here too."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from toolkit.corpus import Corpus, Utterance
from toolkit.errors import CorpusError, RecipeError

RELEASE = "IEMOCAP_full_release"
# [6.2901 - 8.2357]<tab>Ses01F_impro01_F000<tab>neu<tab>[2.5000, 2.5000, 2.5000]
_LINE = re.compile(r"\[\s*[\d.]+\s*-\s*[\d.]+\s*\]\s+(\S+)\s+(\w+)\s+\[\s*([\d.]+),\s*([\d.]+),\s*([\d.]+)\s*\]\s*")
# Session, who wears the markers (not the speaker!), dialog, the speaker's gender, turn.
_TURN = re.compile(r"Ses0([1-5])([FM])_(.+)_([FM])([A-Z]*\d+)")
_TEXT = re.compile(r"(Ses\S+)\s+\[[^\]]*\]:\s*(.*)")


class Iemocap(Corpus):
    """The interactive emotional dyadic motion capture database: ten speakers in five sessions of two.

    Labels are the release's: ang hap exc sad neu fru sur fea dis oth xxx; a recipe's `labels` and `label_map` select.
    A speaker is the session and the gender before the turn's number (1M, 1F ... 5F): the letter after the session is
    who wears the markers.

    Source: Busso et al., IEMOCAP: Interactive emotional dyadic motion capture database, 2008.

    Args:
        sessions: numbers of the sessions to read; all five by default.
    """

    environment = "IEMOCAP_ROOT"
    description = (
        "English, spoken by ten actors in five pairs, in scripted scenes and improvisations recorded in a laboratory: "
        "acted emotion, not everyday speech."
    )
    licence = "Distributed by USC SAIL under a signed licence, which states what the data may be used for."

    def __init__(self, *, sessions: list[int] | None = None):
        self.sessions = sorted(set(sessions)) if sessions is not None else [1, 2, 3, 4, 5]
        if not self.sessions or not set(self.sessions) <= {1, 2, 3, 4, 5}:
            raise RecipeError(f"sessions are numbers from 1 to 5, not {sessions}")

    def read(self, folder: Path | None) -> list[Utterance]:
        """Read the label files; the folder is IEMOCAP_full_release or contains it. Audio files are not checked."""
        root = self._root(folder)
        utterances: list[Utterance] = []
        for session in self.sessions:
            for file in label_files(root, session):
                utterances += read_dialog(file, root, session)
        seen: set[str] = set()
        for u in utterances:
            if u.id in seen:
                raise CorpusError(f"{root}: turn {u.id} is labelled twice")
            seen.add(u.id)
        return utterances

    def _root(self, folder: Path | None) -> Path:
        wanted = [f"Session{session}" for session in self.sessions]
        if folder is None:
            raise CorpusError(f"corpus 'iemocap' needs --data_folder or {self.environment}: the folder {RELEASE}")
        folder = Path(os.path.expanduser(folder)).absolute()
        if not os.path.isdir(folder):
            raise CorpusError(f"No folder {folder}; the folder {RELEASE} with {', '.join(wanted)} is needed")
        for root in (folder, folder / RELEASE):
            missing = [name for name in wanted if not os.path.isdir(root / name)]
            if not missing:
                return root
            if len(missing) < len(wanted):
                raise CorpusError(
                    f"{root} lacks {', '.join(missing)}; get the whole release, or read a part of it on purpose with"
                    " corpus args: {sessions: [...]}"
                )
        found = ", ".join(sorted(p.name for p in folder.iterdir())[:6]) or "nothing"
        raise CorpusError(f"{folder} is not IEMOCAP: it holds {found}; expected {RELEASE} or {', '.join(wanted)}")


def label_files(root: Path, session: int) -> list[Path]:
    """Return the label files of a session's dialogs; subfolders hold single raters' files, dotfiles are not labels."""
    folder = root / f"Session{session}" / "dialog" / "EmoEvaluation"
    files = sorted(p for p in folder.glob("*.txt") if not p.name.startswith(".")) if os.path.isdir(folder) else []
    if not files:
        raise CorpusError(f"{folder} holds no label files; expected Ses0{session}F_impro01.txt and others")
    return files


def read_dialog(file: Path, root: Path, session: int) -> Iterator[Utterance]:
    """Read one label file, with the texts of the dialog's transcription if there is one.

    Raises: CorpusError if a label line or a turn's name is malformed (with file and line), or no label line is found.
    """
    texts = _texts(root / f"Session{session}" / "dialog" / "transcriptions" / file.name)
    empty = True
    for number, line in enumerate(file.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
        if not line.lstrip().startswith("["):
            continue  # the first line, raters' lines, empty ones
        match = _LINE.fullmatch(line)
        if not match:
            raise CorpusError(f"{file}:{number}: not a label line: {line[:80]!r}")
        name, label, valence, activation, dominance = match.groups()
        turn = _TURN.fullmatch(name)
        if not turn or int(turn[1]) != session:
            raise CorpusError(f"{file}:{number}: {name!r} is not a turn of session {session}")
        empty = False
        gender, dialog = turn[4], name.rpartition("_")[0]
        yield Utterance(
            id=name,
            path=root / f"Session{session}" / "sentences" / "wav" / dialog / f"{name}.wav",
            label=label,
            speaker=f"{session}{gender}",
            gender=gender,
            session=f"Session{session}",
            text=texts.get(name),
            extra={"dialog": dialog, "valence": valence, "activation": activation, "dominance": dominance},
        )
    if empty:
        raise CorpusError(f"{file} holds no label line, such as [6.29 - 8.23] {file.stem}_F000 neu [2.5, 2.5, 2.5]")


def _texts(file: Path) -> dict[str, str]:
    if not os.path.isfile(file):
        return {}
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return dict(match.groups() for match in map(_TEXT.fullmatch, lines) if match)
