"""What a finished run leaves: predictions.csv, embeddings.npz and, last of all, results.json."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from toolkit.audio.reading import audio_header
from toolkit.corpus import Utterance
from toolkit.corpus.protocols import selects_on
from toolkit.corpus.targets import LABEL, Target
from toolkit.distributed import ranks
from toolkit.hardware import device_name
from toolkit.plugins.versions import library_versions
from toolkit.training.loop.brain import SystemBrain
from toolkit.training.preparation import Preparation
from toolkit.training.run_folder import EMBEDDINGS, PREDICTIONS, RESULTS, RunFolder


def write_results(
    folder: RunFolder, preparation: Preparation, brain: SystemBrain, *, versions: Mapping[str, str]
) -> None:
    """Write what the test stage found.

    Args:
        folder: the run's.
        preparation: recipe, corpus and fold.
        brain: after `evaluate` on the test part, in the order of `preparation.part("test")`.
        versions: distribution -> version, of those whose plugins were used.
    """
    test, recipe = preparation.part("test"), preparation.source.recipe
    target = preparation.targets[LABEL]
    reference = [u.label for u in test]
    probabilities = target.probabilities(brain.outputs.scores[recipe.predict_from])
    predicted = target.answers(probabilities)
    seconds = [utterance_seconds(u, sample_rate=recipe.audio.sample_rate) for u in test]
    columns = (
        "id",
        "speaker",
        "gender",
        "seconds",
        "reference",
        "predicted",
        *(f"p_{label}" for label in target.classes),
    )
    folder.write_rows(PREDICTIONS, columns, _predictions(test, seconds, predicted, probabilities, target))
    folder.write(EMBEDDINGS, _embeddings(folder, test, brain))
    training = recipe.training
    folder.write_json(
        RESULTS,
        {
            "system": recipe.name,
            "corpus": recipe.corpus.plugin,
            "protocol": preparation.fold.protocol,
            "fold": preparation.fold.name,
            "seed": recipe.seed,
            **target.summary(reference, predicted),
            "heads": _heads(preparation, brain, reference),
            "epoch": brain.history.selection(selects_on(preparation.fold.protocol)).epoch,
            "epochs": len(brain.history.rows),
            "skipped_steps": brain.history.skipped_steps,
            "synthetic": preparation.source.corpus.synthetic,
            "pretrained": brain.system.pretrained,
            "stamps": list(folder.stamps),
            "parameters": sum(p.numel() for p in brain.system.parameters()),
            "device": str(brain.device),
            "hardware": device_name(brain.device),
            "threads": torch.get_num_threads(),
            "ranks": ranks(),
            "precision": training.precision,
            "versions": library_versions() | dict(versions),
            "seconds": round(sum(row["seconds"] for row in brain.history.rows), 3),
        },
    )


def utterance_seconds(utterance: Utterance, *, sample_rate: int) -> float:
    """How long an utterance lasts."""
    samples, _ = audio_header(utterance.path, sample_rate=sample_rate, start_s=utterance.start, end_s=utterance.end)
    return samples / sample_rate


def _predictions(
    test: Sequence[Utterance],
    seconds: Sequence[float],
    predicted: Sequence[str],
    probabilities: np.ndarray,
    target: Target,
) -> list[dict[str, Any]]:
    return [
        {
            "id": utterance.id,
            "speaker": utterance.speaker or "",
            "gender": utterance.gender or "",
            "seconds": f"{duration:.3f}",
            "reference": utterance.label,
            "predicted": answer,
            **{f"p_{label}": repr(p) for label, p in target.named(row).items()},
        }
        for utterance, duration, answer, row in zip(test, seconds, predicted, probabilities, strict=True)
    ]


def _embeddings(folder: RunFolder, test: Sequence[Utterance], brain: SystemBrain) -> bytes:
    """Ids, reference labels and every embedding [utterances, size], as an .npz archive."""
    file = io.BytesIO()
    arrays = {name: brain.outputs.embeddings[name].astype(np.float32) for name in brain.outputs.embeddings.names}
    names = {"id": np.array([u.id for u in test]), "reference": np.array([u.label for u in test])}
    note = {"note": np.array(folder.stamp)} if folder.stamp else {}
    np.savez_compressed(file, **arrays, **names, **note)
    return file.getvalue()


def _heads(preparation: Preparation, brain: SystemBrain, reference: Sequence[str]) -> dict[str, dict[str, float]]:
    """The metrics of every head that predicts the label."""
    target, heads = preparation.targets[LABEL], preparation.source.recipe.model.heads
    scores = brain.outputs.scores
    return {
        name: target.metrics(reference, target.answers(scores[name]))
        for name, spec in heads.items()
        if spec.target == LABEL
    }
