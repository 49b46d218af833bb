"""CREMA-D, the crowd-sourced emotional multimodal actors dataset."""

import os
import re
from pathlib import Path

from toolkit.corpus import Utterance, read_rows
from toolkit_plugins.corpora.release import Release

LABELS = {"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
# Actor, sentence, emotion, intensity (low, medium, high, not stated: XX, and X in one name of older copies).
_NAME = re.compile(r"(1\d{3})_([A-Z]{3})_(ANG|DIS|FEA|HAP|NEU|SAD)_(LO|MD|HI|XX?)")


class CremaD(Release):
    """The crowd-sourced emotional multimodal actors dataset: 91 actors, twelve sentences, 7442 utterances.

    Labels, as the actors meant them: anger disgust fear happy neutral sad. It has no official split; `groups` deals
    the speakers. Genders come from VideoDemographics.csv, if it lies beside AudioWAV.

    Source: Cao et al., CREMA-D: crowd-sourced emotional multimodal actors dataset, 2014.
    """

    environment = "CREMA_D_ROOT"
    title, holds = "CREMA-D", "AudioWAV/1001_DFA_ANG_XX.wav and 7441 others, and VideoDemographics.csv"
    source = "github.com/CheyneyComputerScience/CREMA-D by git with git-lfs"
    description = "English: 91 actors of 20 to 74 years speak twelve sentences, one emotion at a time. Acted emotion."
    licence = "ODbL 1.0 for the database, DbCL 1.0 for its content: credit is due, adapted databases are shared alike."
    sizes = (7442,)

    def read(self, folder: Path | None) -> list[Utterance]:
        """List the files in the folder AudioWAV."""
        files = self.once(self.find(folder, "AudioWAV/*.wav"))
        table = files[0].parents[1] / "VideoDemographics.csv"
        gender_of = {}
        if os.path.isfile(table):
            rows = read_rows(table, required=(), columns={"speaker": "ActorID", "gender": "Sex"})
            gender_of = {row["speaker"]: row["gender"] for _, row in rows}
        return [
            Utterance(
                id=file.stem,
                path=file,
                label=LABELS[name[3]],
                speaker=name[1],
                gender=gender_of.get(name[1]),
                extra={"sentence": name[2], "intensity": name[4].rjust(2, "X")},
            )
            for file, name in self.named(files, _NAME)
        ]
