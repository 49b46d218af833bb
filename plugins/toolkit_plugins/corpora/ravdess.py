"""RAVDESS, speech part: from the original zip's folder (48 kHz, some files stereo) or a copy at another rate."""

import itertools
import os
import re
from pathlib import Path

from toolkit.corpus import Corpus, Utterance
from toolkit.errors import CorpusError

LABELS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
TEXTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}
# EmoBox's six groups of four actors (Ma et al., 2024).
GROUPS = ((1, 11, 20, 21), (4, 10, 12, 14), (8, 9, 19, 23), (3, 5, 7, 24), (2, 15, 16, 18), (6, 13, 17, 22))
_GROUP_OF = {actor: str(i) for i, actors in enumerate(GROUPS, start=1) for actor in actors}
# Modality, vocal channel, emotion, intensity, statement, repetition, actor.
_NAME = re.compile(r"(\d\d)-(\d\d)-(0[1-8])-(\d\d)-(\d\d)-(\d\d)-(\d\d)")
_AUDIO_ONLY, _SPEECH = "03", "01"


class Ravdess(Corpus):
    """The Ryerson audio-visual database of emotional speech and song: 24 actors, 1440 spoken utterances.

    Labels: neutral calm happy sad angry fearful disgust surprised. Column group holds EmoBox's six groups of actors.
    Songs and the sound tracks of videos in the same folders are ignored.

    Source: Livingstone and Russo, The Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS), 2018.
    """

    environment = "RAVDESS_ROOT"
    description = (
        "English with a North American accent: 24 professional actors speak two sentences in a studio, one emotion at "
        "a time. Acted emotion, not everyday speech."
    )
    licence = "CC BY-NC-SA 4.0: credit is due, commercial use is not allowed, adaptations come under the same licence."
    sizes = (1440,)

    def read(self, folder: Path | None) -> list[Utterance]:
        """List the files below Actor_01 to Actor_24, in the folder or in a folder inside it."""
        if folder is None:
            raise CorpusError(f"corpus 'ravdess' needs --data_folder or {self.environment}: the folder of Actor_01")
        folder = Path(os.path.expanduser(folder)).absolute()
        if not os.path.isdir(folder):
            raise CorpusError(f"No folder {folder}; the folder that holds Actor_01 to Actor_24 is needed")
        files = sorted(
            (file for actor in _actors(folder) for file in actor.iterdir() if _is_wav(file)),
            key=lambda f: f.name,
        )
        utterances = [u for u in map(_utterance, files) if u is not None]
        if not utterances:
            found = ", ".join(sorted(p.name for p in folder.iterdir())[:6]) or "nothing"
            raise CorpusError(
                f"{folder} is not RAVDESS's speech part: it holds {found}; expected Actor_01 to Actor_24 with files"
                " such as 03-01-05-01-02-01-12.wav"
            )
        for a, b in itertools.pairwise(utterances):
            if a.id == b.id:
                raise CorpusError(f"{folder} holds {a.id}.wav twice: {a.path} and {b.path}; keep one of the folders")
        return utterances


def _actors(folder: Path) -> list[Path]:
    """The actors' folders here and one level down (Audio_Speech_Actors_01-24, beside the songs' folder)."""
    found = [
        p for pattern in ("Actor_[0-9][0-9]", "*/Actor_[0-9][0-9]") for p in folder.glob(pattern) if os.path.isdir(p)
    ]
    return found or ([folder] if re.fullmatch(r"Actor_\d\d", folder.name) else [])


def _is_wav(file: Path) -> bool:
    return file.suffix.lower() == ".wav" and not file.name.startswith(".")


def _utterance(file: Path) -> Utterance | None:
    match = _NAME.fullmatch(file.stem)
    if not match:
        raise CorpusError(f"{file} is not named as RAVDESS names its files: 03-01-05-01-02-01-12.wav")
    modality, channel, emotion, intensity, statement, repetition, actor = match.groups()
    if file.parent.name != f"Actor_{actor}" or int(actor) not in _GROUP_OF:
        raise CorpusError(f"{file} is of actor {actor}, in folder {file.parent.name}; actors are 01 to 24")
    if modality != _AUDIO_ONLY or channel != _SPEECH:
        return None
    return Utterance(
        id=file.stem,
        path=file,
        label=LABELS[int(emotion) - 1],
        speaker=actor,
        gender="M" if int(actor) % 2 else "F",
        group=_GROUP_OF[int(actor)],
        text=TEXTS.get(statement),
        extra={"intensity": intensity, "statement": statement, "repetition": repetition},
    )
