"""ESC-50, environmental sounds."""

from pathlib import Path

from toolkit.corpus import Utterance, read_rows
from toolkit_plugins.corpora.release import Release


class Esc50(Release):
    """Environmental sounds: 50 classes of 40 recordings of five seconds, in five folds.

    Labels are the table's categories (dog, rain, ...); column group is the fold. Clips of one recording are in
    one fold, so only protocol `groups` may split them: one fold tests, the next validates, three train.

    Source: Piczak, ESC: dataset for environmental sound classification, 2015.
    """

    environment = "ESC50_ROOT"
    title, holds = "ESC-50", "meta/esc50.csv and audio"
    source = "github.com/karolpiczak/ESC-50"
    description = "Environmental sounds of 50 classes, five seconds each, cut from Freesound recordings."
    licence = "CC BY-NC 3.0: credit is due, commercial use is not allowed; the clips of ESC-10 are CC BY."
    sizes = (2000,)
    protocols = ("groups",)

    def read(self, folder: Path | None) -> list[Utterance]:
        """Read meta/esc50.csv."""
        table = self.find_one(folder, "meta/esc50.csv")
        columns = {"file": "filename", "label": "category", "group": "fold", "recording": "src_file"}
        return [
            Utterance(
                id=Path(row["file"]).stem,
                path=table.parents[1] / "audio" / row["file"],
                label=row["label"],
                group=row["group"],
                extra={"recording": row["recording"]},
            )
            for _, row in read_rows(table, required=(), columns=columns)
        ]
