"""EmoDB, the Berlin database of emotional speech."""

import re
from pathlib import Path

from toolkit.corpus import Utterance
from toolkit_plugins.corpora.release import Release

# The sixth character: the emotion's German word.
LABELS = {"W": "anger", "L": "boredom", "E": "disgust", "A": "fear", "F": "happiness", "T": "sadness", "N": "neutral"}
MEN = ("03", "10", "11", "12", "15")
_NAME = re.compile(r"(\d\d)([ab]\d\d)([WLEAFTN])([a-z]?)")  # speaker, sentence, emotion, version


class EmoDB(Release):
    """The Berlin database of emotional speech: ten actors, ten sentences, 535 utterances.

    Labels: anger boredom disgust fear happiness sadness neutral. It has no official split; `groups` deals the
    speakers, and with `k: 10` each one tests once.

    Source: Burkhardt et al., A database of German emotional speech, 2005.
    """

    environment = "EMODB_ROOT"
    title, holds = "EmoDB", "wav/03a01Fa.wav and 534 others"
    source = "Zenodo, record 17651657, or emodb.bilderbar.info"
    description = (
        "German: ten actors speak ten sentences in an anechoic room, one emotion at a time; utterances that "
        "listeners did not recognize were dropped. Acted emotion, not everyday speech."
    )
    licence = "CC BY 4.0: credit is due."
    sizes = (535,)

    def read(self, folder: Path | None) -> list[Utterance]:
        """List the files in the folder wav."""
        return [
            Utterance(
                id=file.stem,
                path=file,
                label=LABELS[name[3]],
                speaker=name[1],
                gender="M" if name[1] in MEN else "F",
                extra={"sentence": name[2]},
            )
            for file, name in self.named(self.once(self.find(folder, "wav/*.wav")), _NAME)
        ]
