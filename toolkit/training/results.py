"""What a run writes: epochs.csv after every epoch; predictions.csv, embeddings.npz and, last of all, results.json."""

import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from toolkit.audio.reading import stretch
from toolkit.corpus.protocols import selects_on
from toolkit.corpus.targets import LABEL
from toolkit.distributed import ranks
from toolkit.hardware import device_name
from toolkit.plugins.versions import library_versions
from toolkit.training.loop.brain import SystemBrain
from toolkit.training.loop.history import History
from toolkit.training.preparation import Preparation
from toolkit.training.run_folder import EMBEDDINGS, EPOCHS, PREDICTIONS, RESULTS, RunFolder


class EpochLog:
    """Called with the history after every epoch; of the phase "probe", what it writes and says is apart."""

    def __init__(self, folder: RunFolder, say: Callable[[str], None], phase: str = ""):
        self.folder, self.say, self.phase = folder, say, phase
        self._writer = None

    def close(self) -> None:
        """End TensorBoard's thread, which lives as long as the process otherwise."""
        if self._writer is not None:
            self._writer.close()

    def __call__(self, history: History) -> None:
        """Write epochs.csv (of the probe probe.csv) again, and print its last row."""
        self.folder.write_rows(f"{self.phase}.csv" if self.phase else EPOCHS, history.rows)
        row = history.rows[-1]
        skipped = f"  skipped steps {history.skipped_steps}" if history.skipped_steps else ""
        names = [column for column in row if column.startswith("valid_")]
        valid = " ".join(f"{name.removeprefix('valid_').upper()} {row[name]:.4f}" for name in names)
        epoch = f"{self.phase} epoch {row['epoch']:3d}".lstrip()
        loss = "fitted" if row["train_loss"] is None else f"train loss {row['train_loss']:.4f}"
        self.say(f"{epoch}  {loss}  valid {valid}  {row['seconds']:.1f} s{skipped}")
        if not self.folder.writes:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        if self._writer is None:  # a resumed run overwrites what an interrupted one wrote after its last checkpoint
            path = self.folder.path / "tensorboard" / self.phase
            self._writer = SummaryWriter(str(path), purge_step=len(history.rows))
        for column, value in row.items():
            if column != "epoch" and value is not None:
                self._writer.add_scalar(column.replace("_", "/", 1), value, row["epoch"])
        self._writer.flush()


def _write_test(folder: RunFolder, preparation: Preparation, brain: SystemBrain) -> dict[str, Any]:
    """Write what `brain.evaluate` computed on the test part; the metrics of it."""
    recipe, scores, embeddings = preparation.source.recipe, brain.outputs.scores, brain.outputs.embeddings
    test, target, rate = preparation.part("test"), preparation.targets[LABEL], recipe.audio.sample_rate
    reference = [utterance.label for utterance in test]
    probabilities = target.probabilities(scores[recipe.predict_from])  # [utterances, classes]
    predicted, rows = target.answers(probabilities), []
    for u, answer, row in zip(test, predicted, probabilities, strict=True):
        seconds = stretch(u.path, start_s=u.start, end_s=u.end).samples(rate) / rate
        facts = {"id": u.id, "speaker": u.speaker or "", "gender": u.gender or "", "seconds": f"{seconds:.3f}"}
        facts |= {"reference": u.label, "predicted": answer}
        rows.append(facts | {f"p_{label}": repr(p) for label, p in target.named(row).items()})
    folder.write_rows(PREDICTIONS, rows)
    arrays = {name: embeddings[name].astype(np.float32) for name in embeddings.names}
    arrays |= {"id": np.array([utterance.id for utterance in test]), "reference": np.array(reference)}
    arrays |= {"note": np.array(folder.stamp)} if folder.stamp else {}
    archive = io.BytesIO()
    np.savez_compressed(archive, **arrays)
    folder.write(EMBEDDINGS, archive.getvalue())
    heads = [name for name, spec in recipe.model.heads.items() if spec.target == LABEL]
    by_head = {name: target.metrics(reference, target.answers(scores[name])) for name in heads}
    return {**target.summary(reference, predicted), "heads": by_head}


def write_results(
    folder: RunFolder, preparation: Preparation, brain: SystemBrain, *, versions: Mapping[str, str]
) -> None:
    """Write how a run ended, and what it computed on the test part, with versions of the distributions it used."""
    tested = "test" in preparation.evaluated
    found = _write_test(folder, preparation, brain) if tested else {}
    recipe, history = preparation.source.recipe, brain.history
    chosen = history.rows[history.selection(selects_on(preparation.fold.protocol)).epoch - history.first]
    folder.write_json(
        RESULTS,
        {
            "system": recipe.name,
            "corpus": recipe.corpus.plugin,
            "protocol": preparation.fold.protocol,
            "fold": preparation.fold.name,
            "split": preparation.fold.digest,
            "seed": recipe.seed,
            "tested": tested,
            **found,
            **{name: value for name, value in chosen.items() if name.startswith("valid_")},
            "epoch": chosen["epoch"],
            "epochs": len(history.rows),
            "probe": history.probe,
            "average": recipe.training.average.name,
            "skipped_steps": history.skipped_steps,
            "synthetic": preparation.source.corpus.synthetic,
            "pretrained": brain.system.pretrained,
            "stamps": list(folder.stamps),
            "parameters": sum(p.numel() for p in brain.system.parameters()),
            "device": str(brain.device),
            "hardware": device_name(brain.device),
            "threads": torch.get_num_threads(),
            "ranks": ranks(),
            "precision": recipe.training.precision,
            "versions": library_versions() | dict(versions),
            "seconds": history.seconds,
        },
    )
