"""RAVDESS, speech part: from the original zip's folder (48 kHz, some files stereo) or a copy at another rate."""

import re
from pathlib import Path

from toolkit.corpus import Utterance
from toolkit.errors import CorpusError
from toolkit_plugins.corpora.release import Release

LABELS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
TEXTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}
# EmoBox's six groups of four actors (Ma et al., 2024).
GROUPS = ((1, 11, 20, 21), (4, 10, 12, 14), (8, 9, 19, 23), (3, 5, 7, 24), (2, 15, 16, 18), (6, 13, 17, 22))
_GROUP_OF = {actor: str(i) for i, actors in enumerate(GROUPS, start=1) for actor in actors}
# Modality, vocal channel, emotion, intensity, statement, repetition, actor.
_NAME = re.compile(r"(\d\d)-(\d\d)-(0[1-8])-(\d\d)-(\d\d)-(\d\d)-(\d\d)")
_SPEECH = ("03", "01")  # modality and channel


class Ravdess(Release):
    """The Ryerson audio-visual database of emotional speech and song: 24 actors, 1440 spoken utterances.

    Labels: neutral calm happy sad angry fearful disgust surprised. Column group holds EmoBox's six groups of actors.
    Songs and the sound tracks of videos in the same folders are ignored.

    Source: Livingstone and Russo, The Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS), 2018.
    """

    environment = "RAVDESS_ROOT"
    title, holds = "RAVDESS's speech part", "Actor_01/03-01-05-01-02-01-01.wav and others, up to Actor_24"
    source = "Zenodo, record 1188976"
    description = (
        "English with a North American accent: 24 professional actors speak two sentences in a studio, one emotion at "
        "a time. Acted emotion, not everyday speech."
    )
    licence = "CC BY-NC-SA 4.0: credit is due, commercial use is not allowed, adaptations come under the same licence."
    sizes = (1440,)

    def read(self, folder: Path | None) -> list[Utterance]:
        """List the files below Actor_01 to Actor_24, in the folder or in a folder inside it."""
        utterances = []
        for file, name in self.named(self.find(folder, "Actor_[0-9][0-9]/*.[wW][aA][vV]"), _NAME):
            modality, channel, emotion, intensity, statement, repetition, actor = name.groups()
            if file.parent.name != f"Actor_{actor}" or int(actor) not in _GROUP_OF:
                raise CorpusError(f"{file} is of actor {actor}, in folder {file.parent.name}; actors are 01 to 24")
            if (modality, channel) == _SPEECH:
                utterances.append(
                    Utterance(
                        id=file.stem,
                        path=file,
                        label=LABELS[int(emotion) - 1],
                        speaker=actor,
                        gender="M" if int(actor) % 2 else "F",
                        group=_GROUP_OF[int(actor)],
                        text=TEXTS.get(statement),
                        extra={"intensity": intensity, "statement": statement, "repetition": repetition},
                    )
                )
        if not utterances:
            raise self.unlike(folder)
        self.once([u.path for u in utterances])
        return utterances
