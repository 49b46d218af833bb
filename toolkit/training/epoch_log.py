"""What is written after every epoch: epochs.csv, a line for the reader, TensorBoard where it is installed."""

from collections.abc import Callable

from toolkit.training.loop.history import History
from toolkit.training.run_folder import EPOCHS, RunFolder

TENSORBOARD = "tensorboard"


class EpochLog:
    """Called with the history after every epoch; TensorBoard's file is open until its `with` block is left.

    Args:
        folder: the run's.
        say: prints a line for the reader.
    """

    def __init__(self, folder: RunFolder, say: Callable[[str], None]):
        self.folder, self.say = folder, say
        self._writer = None

    def __enter__(self) -> "EpochLog":
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.close()  # ends its thread, which lives as long as the process otherwise

    def __call__(self, history: History) -> None:
        """Write epochs.csv again, and print its last row."""
        self.folder.write_rows(EPOCHS, history.rows)
        row = history.rows[-1]
        skipped = f"  skipped steps {history.skipped_steps}" if history.skipped_steps else ""
        metrics = {column.removeprefix("valid_"): value for column, value in row.items() if column.startswith("valid_")}
        valid = " ".join(f"{metric.upper()} {value:.4f}" for metric, value in metrics.items())
        loss, seconds = f"train loss {row['train_loss']:.4f}", f"{row['seconds']:.1f} s"
        self.say(f"epoch {row['epoch']:3d}  {loss}  valid {valid}  {seconds}{skipped}")
        if not self.folder.writes:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        if self._writer is None:  # a resumed run overwrites what an interrupted one wrote after its last checkpoint
            self._writer = SummaryWriter(str(self.folder.path / TENSORBOARD), purge_step=len(history.rows))
        for column, value in row.items():
            if column != "epoch":
                self._writer.add_scalar(column.replace("_", "/", 1), value, row["epoch"])
        self._writer.flush()
