"""Speech Commands, single words."""

import re
from pathlib import Path

from toolkit.corpus import Utterance
from toolkit.errors import CorpusError
from toolkit.files import read_text
from toolkit_plugins.corpora.release import Release

_NAME = re.compile(r"([0-9a-f]+)_nohash_(\d+)")  # speaker, repetition


class SpeechCommands(Release):
    """Single words, one second each, spoken by thousands of volunteers: 35 words in version 2, 30 in version 1.

    Labels are the words; column split follows the lists for validation and test, which share no speaker, for protocol
    `given`. Background noises are left out.

    Source: Warden, Speech Commands: a dataset for limited-vocabulary speech recognition, 2018.
    """

    environment = "SPEECH_COMMANDS_ROOT"
    title, holds = "Speech Commands", "validation_list.txt, testing_list.txt and yes/0a7c2a8d_nohash_0.wav and others"
    source = "download.tensorflow.org/data/speech_commands_v0.02.tar.gz"
    description = "English: single words of one second, spoken by thousands of volunteers into their own microphones."
    licence = "CC BY 4.0: credit is due."
    sizes = (105_829, 64_721)

    def read(self, folder: Path | None) -> list[Utterance]:
        """List the files in the words' folders."""
        lists = {"valid": self.find_one(folder, "validation_list.txt")}
        root = lists["valid"].parent
        lists["test"] = self.find_one(root, "testing_list.txt")
        splits = {name: split for split, file in lists.items() for name in _text(file).split()}
        return [
            Utterance(
                id=f"{file.parent.name}/{file.stem}",
                path=file,
                label=file.parent.name,
                speaker=name[1],
                split=splits.get(f"{file.parent.name}/{file.name}", "train"),
            )
            for file, name in self.named(self.find(root, "*_nohash_*.wav"), _NAME)
        ]


def _text(file: Path) -> str:
    try:
        return read_text(file)
    except (UnicodeDecodeError, OSError) as error:
        raise CorpusError(f"{file}: cannot be read as UTF-8 text: {error}") from None
