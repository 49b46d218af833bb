"""Writes the results of a run: its predictions, embeddings.npz and, last of all, results.json."""

import io
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from toolkit.audio.reading import stretch
from toolkit.corpus.protocols import selects_on
from toolkit.corpus.targets import LABEL
from toolkit.distributed import ranks
from toolkit.hardware import device_name
from toolkit.plugins.versions import library_versions
from toolkit.statistics.metrics import confusion_matrix
from toolkit.training.loop.brain import SystemBrain
from toolkit.training.predictions import read_answers
from toolkit.training.preparation import Preparation
from toolkit.training.run_folder import EMBEDDINGS, PREDICTIONS, RESULTS, VALIDATION, RunFolder


def write_predictions(folder: RunFolder, preparation: Preparation, part: str, brain: SystemBrain) -> None:
    """Write the predictions of `brain.evaluate` on a part, "valid" or "test": a row for each utterance."""
    recipe, target = preparation.source.recipe, preparation.targets[LABEL]
    rate, rows = recipe.audio.sample_rate, []
    probabilities = target.probabilities(brain.outputs.scores[recipe.predict_from])  # [utterances, classes]
    for u, answer, row in zip(preparation.part(part), target.answers(probabilities), probabilities, strict=True):
        seconds = stretch(u.path, start_s=u.start, end_s=u.end).samples(rate) / rate
        facts = {"id": u.id, "speaker": u.speaker or "", "gender": u.gender or "", "seconds": f"{seconds:.3f}"}
        facts |= {"reference": u.label, "predicted": answer}
        rows.append(facts | {f"p_{label}": repr(p) for label, p in target.named(row).items()})
    folder.write_rows(PREDICTIONS if part == "test" else VALIDATION, rows)


def _write_test(folder: RunFolder, preparation: Preparation, brain: SystemBrain) -> dict[str, Any]:
    """Write the embeddings of `brain.evaluate` on the test part; returns its metrics."""
    recipe, scores, embeddings = preparation.source.recipe, brain.outputs.scores, brain.outputs.embeddings
    test, target = preparation.part("test"), preparation.targets[LABEL]
    reference = [utterance.label for utterance in test]
    predicted = target.answers(target.probabilities(scores[recipe.predict_from]))
    arrays = {name: embeddings[name].astype(np.float32) for name in embeddings.names}
    arrays |= {"id": np.array([utterance.id for utterance in test]), "reference": np.array(reference)}
    arrays |= {"note": np.array(folder.stamp)} if folder.stamp else {}
    archive = io.BytesIO()
    np.savez_compressed(archive, **arrays)
    folder.write(EMBEDDINGS, archive.getvalue())
    heads = [name for name, spec in recipe.model.heads.items() if spec.target == LABEL]
    by_head = {name: target.metrics(reference, target.answers(scores[name])) for name in heads}
    return {**target.summary(reference, predicted), "heads": by_head}


def _validation(folder: RunFolder, preparation: Preparation) -> dict[str, list[list[int]]]:
    """The confusion of validation.csv, which tells the file of this run from others; nothing without the file."""
    if not os.path.isfile(folder.path / VALIDATION):
        return {}
    labels = preparation.targets[LABEL].classes
    found = read_answers(folder.path, labels, VALIDATION)
    return {"valid_confusion": confusion_matrix(found.reference, found.predicted, labels=labels).tolist()}


def write_results(
    folder: RunFolder, preparation: Preparation, brain: SystemBrain, *, versions: Mapping[str, str]
) -> None:
    """Write the embeddings of the test part, then results.json, with the versions of the distributions it used."""
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
            **_validation(folder, preparation),
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
