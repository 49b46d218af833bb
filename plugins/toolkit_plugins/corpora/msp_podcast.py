"""MSP-Podcast, emotional speech from podcasts."""

from pathlib import Path
from typing import Literal

from toolkit.corpus import Utterance, read_rows
from toolkit.errors import CorpusError
from toolkit_plugins.corpora.release import Release

LABELS = {
    "A": "anger",
    "C": "contempt",
    "D": "disgust",
    "F": "fear",
    "H": "happiness",
    "N": "neutral",
    "S": "sadness",
    "U": "surprise",
    "O": "other",
    "X": "no agreement",
}
_SPLITS = {"Train": "train", "Development": "valid", "Validation": "valid"}  # the older name
_COLUMNS = {"file": "FileName", "label": "EmoClass", "speaker": "SpkrID", "gender": "Gender", "split": "Split_Set"}
_DIMENSIONS = {"activation": "EmoAct", "valence": "EmoVal", "dominance": "EmoDom"}


class MspPodcast(Release):
    """The MSP-Podcast corpus: everyday speech from podcasts, labelled by a crowd, in its own partitions.

    Labels: anger contempt disgust fear happiness neutral sadness surprise, other, and "no agreement" of the raters; a
    recipe's label_map leaves labels out. Column split holds the partitions, for protocol `given`. Unknown speakers are
    left empty; whether the parts share one can then not be checked, and results say so.

    Source: Lotfian and Busso, Building naturalistic emotionally balanced speech corpus by retrieving emotional speech
    from existing podcast recordings, 2019.

    Args:
        test: the partition to test on. The other is left out: speakers may be in both.
    """

    environment = "MSP_PODCAST_ROOT"
    title, holds = "MSP-Podcast", "Labels/labels_consensus.csv and Audios"
    source = "the MSP lab (lab-msp.com) under a signed licence"
    description = "English: podcasts cut into speaking turns, whose emotion was labelled by a crowd. Natural speech."
    licence = "Distributed by the MSP lab under a signed licence, which states what the data may be used for."

    def __init__(self, *, test: Literal["Test1", "Test2"] = "Test1"):
        self.splits = _SPLITS | {test: "test"}

    def read(self, folder: Path | None) -> list[Utterance]:
        """Read Labels/labels_consensus.csv, or labels_concensus.csv as older releases spell it."""
        table = self.find_one(folder, "Labels/labels_con[sc]ensus.csv")
        utterances = []
        for line, row in read_rows(table, required=(), columns=_COLUMNS | _DIMENSIONS):
            if row["label"] not in LABELS:
                known = ", ".join(LABELS)
                raise CorpusError(f"{table}:{line}: EmoClass {row['label']!r} is not known; known are {known}")
            if row["split"] not in _SPLITS and not row["split"].startswith("Test"):
                found = f"Split_Set {row['split']!r} is not known"
                raise CorpusError(f"{table}:{line}: {found}; known are {', '.join(_SPLITS)}, Test1, Test2, Test3")
            if row["split"] in self.splits:
                known = {key: row[key] for key in ("speaker", "gender") if row[key].strip().lower() != "unknown"}
                utterances.append(
                    Utterance(
                        id=Path(row["file"]).stem,
                        path=table.parents[1] / "Audios" / row["file"],
                        label=LABELS[row["label"]],
                        split=self.splits[row["split"]],
                        extra={name: row[name] for name in _DIMENSIONS},
                        **known,
                    )
                )
        return utterances
