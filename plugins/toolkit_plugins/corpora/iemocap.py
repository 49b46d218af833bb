"""IEMOCAP from its release; the synthetic corpus, which has the same shape, is read here too."""

import os
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from toolkit.corpus import Utterance
from toolkit.errors import CorpusError, RecipeError
from toolkit_plugins.corpora.release import Release

RELEASE = "IEMOCAP_full_release"  # as its folder is called
# [6.2901 - 8.2357]<tab>Ses01F_impro01_F000<tab>neu<tab>[2.5000, 2.5000, 2.5000]
_LINE = re.compile(r"\[\s*[\d.]+\s*-\s*[\d.]+\s*\]\s+(\S+)\s+(\w+)\s+\[\s*([\d.]+),\s*([\d.]+),\s*([\d.]+)\s*\]\s*")
# Session, who wears the markers (not the speaker!), dialog, the speaker's gender, turn.
_TURN = re.compile(r"Ses0([1-5])([FM])_(.+)_([FM])([A-Z]*\d+)")
_TEXT = re.compile(r"(Ses\S+)\s+\[[^\]]*\]:\s*(.*)")


class Iemocap(Release):
    """The interactive emotional dyadic motion capture database: ten speakers in five sessions of two.

    Labels are the release's: ang hap exc sad neu fru sur fea dis oth xxx; a recipe's `labels` and `label_map` select.
    A speaker is the session and the gender before the turn's number (1M, 1F ... 5F): the letter after the session is
    who wears the markers.

    Source: Busso et al., IEMOCAP: Interactive emotional dyadic motion capture database, 2008.

    Args:
        sessions: numbers of the sessions to read; all five by default.
    """

    environment = "IEMOCAP_ROOT"
    title, holds = "IEMOCAP", "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt and others, up to Session5"
    source = "USC SAIL (sail.usc.edu/iemocap) under a signed licence"
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
        """Read the label files; subfolders hold single raters' files. Audio files are not checked."""
        files = self.find(folder, "Session[1-5]/dialog/EmoEvaluation/*.txt")
        by_session = {n: [file for file in files if _session(file) == n] for n in self.sessions}
        if missing := [f"Session{n}" for n, found in by_session.items() if not found]:
            remedy = "get the whole release, or read a part of it on purpose with corpus args: {sessions: [...]}"
            raise CorpusError(f"{files[0].parents[3]} lacks the label files of {', '.join(missing)}; {remedy}")
        utterances: dict[str, Utterance] = {}
        for file in self.once(list(chain.from_iterable(by_session.values()))):
            for u in read_dialog(file):
                if u.id in utterances:
                    raise CorpusError(f"{file}: turn {u.id} is labelled twice")
                utterances[u.id] = u
        return list(utterances.values())


def read_dialog(file: Path) -> Iterator[Utterance]:
    """Read one label file, with the texts of the dialog's transcription if there is one.

    Raises: CorpusError if a label line or a turn's name is malformed (with file and line), or no label line is found.
    """
    session = file.parents[2]
    texts = _texts(session / "dialog" / "transcriptions" / file.name)
    empty = True
    for number, line in enumerate(file.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
        if not line.lstrip().startswith("["):
            continue  # the first line, raters' lines, empty ones
        match = _LINE.fullmatch(line)
        if not match:
            raise CorpusError(f"{file}:{number}: not a label line: {line[:80]!r}")
        name, label, valence, activation, dominance = match.groups()
        turn = _TURN.fullmatch(name)
        if not turn or int(turn[1]) != _session(file):
            raise CorpusError(f"{file}:{number}: {name!r} is not a turn of session {_session(file)}")
        empty = False
        gender, dialog = turn[4], name.rpartition("_")[0]
        yield Utterance(
            id=name,
            path=session / "sentences" / "wav" / dialog / f"{name}.wav",
            label=label,
            speaker=f"{turn[1]}{gender}",
            gender=gender,
            session=session.name,
            text=texts.get(name),
            extra={"dialog": dialog, "valence": valence, "activation": activation, "dominance": dominance},
        )
    if empty:
        raise CorpusError(f"{file} holds no label line, such as [6.29 - 8.23] {file.stem}_F000 neu [2.5, 2.5, 2.5]")


def _session(file: Path) -> int:
    """The number of the session whose label file this is."""
    return int(file.parents[2].name[-1])


def _texts(file: Path) -> dict[str, str]:
    if not os.path.isfile(file):
        return {}
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return dict(match.groups() for match in map(_TEXT.fullmatch, lines) if match)
