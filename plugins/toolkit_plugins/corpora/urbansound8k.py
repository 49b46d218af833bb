"""UrbanSound8K, city sounds."""

from pathlib import Path

from toolkit.corpus import Utterance, read_rows
from toolkit_plugins.corpora.release import Release


class UrbanSound8K(Release):
    """City sounds: ten classes, 8732 excerpts of at most four seconds, in ten folds.

    Labels are the table's classes (air_conditioner, car_horn, ...); column group is the fold. Excerpts of one recording
    are much alike and in one fold, so only protocol `groups` may split them: one fold tests, the next validates, eight
    train.

    Source: Salamon, Jacoby and Bello, A dataset and taxonomy for urban sound research, 2014.
    """

    environment = "URBANSOUND8K_ROOT"
    title, holds = "UrbanSound8K", "metadata/UrbanSound8K.csv and audio/fold1 to audio/fold10"
    source = "urbansounddataset.weebly.com/urbansound8k.html"
    description = "City sounds of ten classes, at most four seconds each, cut from Freesound recordings."
    licence = "CC BY-NC 3.0: credit is due, commercial use is not allowed."
    sizes = (8732,)
    protocols = ("groups",)

    def read(self, folder: Path | None) -> list[Utterance]:
        """Read metadata/UrbanSound8K.csv, whose start and end are times in the recording, not in the excerpt."""
        table = self.find_one(folder, "metadata/UrbanSound8K.csv")
        columns = {"file": "slice_file_name", "label": "class", "group": "fold", "recording": "fsID"}
        return [
            Utterance(
                id=Path(row["file"]).stem,
                path=table.parents[1] / "audio" / f"fold{row['group']}" / row["file"],
                label=row["label"],
                group=row["group"],
                extra={"recording": row["recording"], "salience": row.get("salience")},
            )
            for _, row in read_rows(table, required=(), columns=columns)
        ]
