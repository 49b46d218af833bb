"""Writes the results of a run: its predictions, embeddings.npz and, last of all, results.json."""

import io
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
from toolkit.training.preparation import Preparation
from toolkit.training.run_folder import EMBEDDINGS, PREDICTIONS, RESULTS, VALIDATION, RunFolder


def write_predictions(folder: RunFolder, preparation: Preparation, part: str, brain: SystemBrain) -> dict[str, Any]:
    """Write the predictions of `brain.evaluate` on a part, "valid" or "test", by utterance; returns their metrics."""
    recipe, utterances = preparation.source.recipe, preparation.part(part)
    target, rate = preparation.targets[LABEL], recipe.audio.sample_rate
    probabilities = target.probabilities(brain.outputs.scores[recipe.predict_from])  # [utterances, classes]
    answers = target.answers(probabilities)
    rows = []
    for u, answer, row in zip(utterances, answers, probabilities, strict=True):
        seconds = stretch(u.path, start_s=u.start, end_s=u.end).samples(rate) / rate
        facts = {"id": u.id, "speaker": u.speaker or "", "gender": u.gender or "", "seconds": f"{seconds:.3f}"}
        facts |= {"reference": u.label, "predicted": answer}
        rows.append(facts | {f"p_{label}": repr(p) for label, p in target.named(row).items()})
    folder.write_rows(PREDICTIONS if part == "test" else VALIDATION, rows)
    return target.summary([u.label for u in utterances], answers)


def _write_embeddings(folder: RunFolder, preparation: Preparation, brain: SystemBrain) -> dict[str, dict[str, float]]:
    """Write the embeddings of `brain.evaluate` on the test part; returns the metrics of each head for the label."""
    scores, embeddings = brain.outputs.scores, brain.outputs.embeddings
    test, target = preparation.part("test"), preparation.targets[LABEL]
    reference = [utterance.label for utterance in test]
    arrays = {name: embeddings[name].astype(np.float32) for name in embeddings.names}
    arrays |= {"id": np.array([utterance.id for utterance in test]), "reference": np.array(reference)}
    arrays |= {"note": np.array(folder.stamp)} if folder.stamp else {}
    archive = io.BytesIO()
    np.savez_compressed(archive, **arrays)
    folder.write(EMBEDDINGS, archive.getvalue())
    heads = preparation.source.recipe.model.heads.items()
    return {n: target.metrics(reference, target.answers(scores[n])) for n, spec in heads if spec.target == LABEL}


def write_results(
    folder: RunFolder, preparation: Preparation, brain: SystemBrain, metrics: dict[str, Any], versions: dict[str, str]
) -> None:
    """Write the test part's embeddings, then results.json; `metrics`: part -> what `write_predictions` returned."""
    tested = {**metrics["test"], "heads": _write_embeddings(folder, preparation, brain)} if "test" in metrics else {}
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
            "tested": "test" in metrics,
            **tested,
            **{name: value for name, value in chosen.items() if name.startswith("valid_")},
            # tells the validation.csv of this run from others
            **({"valid_confusion": metrics["valid"]["confusion"]} if "valid" in metrics else {}),
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
            "versions": library_versions() | versions,
            "seconds": history.seconds,
        },
    )
