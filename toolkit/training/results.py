"""What a finished run leaves: predictions.csv, embeddings.npz and, last of all, results.json."""

import io
from collections.abc import Mapping

import numpy as np
import torch

from toolkit.audio.reading import audio_header
from toolkit.corpus import Utterance
from toolkit.corpus.protocols import selects_on
from toolkit.corpus.targets import LABEL
from toolkit.distributed import ranks
from toolkit.hardware import device_name
from toolkit.plugins.versions import library_versions
from toolkit.training.loop.brain import SystemBrain
from toolkit.training.preparation import Preparation
from toolkit.training.run_folder import EMBEDDINGS, PREDICTIONS, RESULTS, RunFolder


def write_results(
    folder: RunFolder, preparation: Preparation, brain: SystemBrain, *, versions: Mapping[str, str]
) -> None:
    """Write what the test stage computed.

    Args:
        folder: the run's.
        preparation: recipe, corpus and fold.
        brain: after `evaluate` on the test part, in the order of `preparation.part("test")`.
        versions: distribution -> version, of those whose plugins were used.
    """
    recipe, scores, embeddings = preparation.source.recipe, brain.outputs.scores, brain.outputs.embeddings
    test, target = preparation.part("test"), preparation.targets[LABEL]
    reference = [utterance.label for utterance in test]
    probabilities = target.probabilities(scores[recipe.predict_from])  # [utterances, classes]
    predicted = target.answers(probabilities)
    rows = [
        {
            "id": utterance.id,
            "speaker": utterance.speaker or "",
            "gender": utterance.gender or "",
            "seconds": f"{utterance_seconds(utterance, sample_rate=recipe.audio.sample_rate):.3f}",
            "reference": utterance.label,
            "predicted": answer,
            **{f"p_{label}": repr(p) for label, p in target.named(row).items()},
        }
        for utterance, answer, row in zip(test, predicted, probabilities, strict=True)
    ]
    folder.write_rows(PREDICTIONS, rows)
    arrays = {name: embeddings[name].astype(np.float32) for name in embeddings.names}
    arrays |= {"id": np.array([utterance.id for utterance in test]), "reference": np.array(reference)}
    arrays |= {"note": np.array(folder.stamp)} if folder.stamp else {}
    archive = io.BytesIO()
    np.savez_compressed(archive, **arrays)
    folder.write(EMBEDDINGS, archive.getvalue())
    heads = [name for name, spec in recipe.model.heads.items() if spec.target == LABEL]
    folder.write_json(
        RESULTS,
        {
            "system": recipe.name,
            "corpus": recipe.corpus.plugin,
            "protocol": preparation.fold.protocol,
            "fold": preparation.fold.name,
            "seed": recipe.seed,
            **target.summary(reference, predicted),
            "heads": {name: target.metrics(reference, target.answers(scores[name])) for name in heads},
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
            "precision": recipe.training.precision,
            "versions": library_versions() | dict(versions),
            "seconds": round(sum(row["seconds"] for row in brain.history.rows), 3),
        },
    )


def utterance_seconds(utterance: Utterance, *, sample_rate: int) -> float:
    """How long an utterance lasts."""
    samples, _ = audio_header(utterance.path, sample_rate=sample_rate, start_s=utterance.start, end_s=utterance.end)
    return samples / sample_rate
