"""A run's predictions and results, written and read; the confidence that its validation part gives."""

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.audio.reading import stretch
from toolkit.corpus.folds import SPEAKER_DEPENDENT_STAMP
from toolkit.corpus.protocols import selects_on
from toolkit.corpus.targets import LABEL
from toolkit.errors import ExperimentError, one_line
from toolkit.files import from_cell, read_text
from toolkit.plugins.registry import library_versions
from toolkit.statistics.confidence import UNFITTED, Confidence, checked_probabilities
from toolkit.statistics.metrics import confusion_matrix
from toolkit.training.preparation import Preparation
from toolkit.training.run_folder import EMBEDDINGS, PREDICTIONS, RESULTS, VALIDATION, RunFolder, read_results

if TYPE_CHECKING:
    from toolkit.training.loop.brain import SystemBrain

REMEDY = "delete the run and train it again"


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers for test utterances of one or several runs, arrays [utterances]; "" or NaN for unknown values."""

    id: np.ndarray
    speaker: np.ndarray
    gender: np.ndarray
    seconds: np.ndarray
    reference: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray  # [utterances, classes]


@contextmanager
def damage_of(file: Path) -> Iterator[Path]:
    """Turn every error while a run's file is read into an ExperimentError."""
    try:
        yield file
    except ExperimentError:
        raise
    except Exception as error:  # numpy, zipfile and zlib raise many kinds
        raise ExperimentError(f"{file} is damaged ({one_line(error)}): {REMEDY}.") from None


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a run's CSV file; ExperimentError if it cannot be read."""
    with damage_of(path):
        rows = csv.DictReader(io.StringIO(read_text(path), newline=""))
        return [{key: from_cell(text or "") for key, text in row.items()} for row in rows]


def read_answers(
    folder: Path, labels: Sequence[str], file: str = PREDICTIONS, confusion: list | None = None
) -> Answers:
    """A run's predictions of these labels; ExperimentError if the file is damaged or they have another `confusion`.

    Older runs have no confusion of the validation part in results.json.
    """
    with damage_of(folder / file) as path:
        rows = read_csv(path)
        answers = Answers(
            *(np.array([row.get(name) or "" for row in rows]) for name in ("id", "speaker", "gender")),
            np.array([float(row.get("seconds") or "nan") for row in rows]),
            *(np.array([row[name] for row in rows]) for name in ("reference", "predicted")),
            np.array([[float(row[f"p_{label}"]) for label in labels] for row in rows]),
        )
        checked_probabilities(answers.probabilities, answers.reference, labels)
        found = confusion_matrix(answers.reference, answers.predicted, labels=labels).tolist()
        if len({*answers.id.tolist()}) < len(rows):
            raise ValueError("an id occurs twice")
    if confusion not in (None, found):
        raise ExperimentError(f"{path} and {RESULTS} belong to different runs: {REMEDY}.")
    return answers


def read_confidence(folder: Path, labels: Sequence[str], results: Mapping[str, Any]) -> Confidence:
    """Fit it on a run's validation.csv; `UNFITTED` without that file, ExperimentError if it is not of these results."""
    if not os.path.isfile(folder / VALIDATION):
        return UNFITTED
    answers = read_answers(folder, labels, VALIDATION, confusion=results.get("valid_confusion"))
    # where the speakers are in training too, none stands for a new speaker
    trained = SPEAKER_DEPENDENT_STAMP in results["stamps"]
    speakers = [""] * len(answers.id) if trained else answers.speaker.tolist()
    return Confidence.fit(answers.probabilities, answers.reference, labels=labels, speakers=speakers)


def predictions_of(run: str | PathLike) -> dict[str, np.ndarray]:
    """The columns of a run's predictions.csv, as `toolkit.read_predictions`; `run`: its folder, or its results.json."""
    folder = Path(run).parent if Path(run).name == RESULTS else Path(run)
    results = read_results(folder / RESULTS, trials=True) if os.path.isfile(folder / RESULTS) else {}
    if (labels := results.get("labels")) is None:
        raise ExperimentError(f"{folder} is not the folder of a finished run: it has no {RESULTS} of a test.")
    columns = dict(vars(read_answers(folder, labels, confusion=results["confusion"])))
    probabilities = columns.pop("probabilities")
    return columns | {f"p_{label}": probabilities[:, index] for index, label in enumerate(labels)}


def write_predictions(folder: RunFolder, preparation: Preparation, part: str, brain: "SystemBrain") -> dict[str, Any]:
    """Write the predictions of `brain.evaluate` on a part, "valid" or "test", by utterance; returns their metrics."""
    recipe, utterances = preparation.source.recipe, preparation.part(part)
    target, rate = preparation.targets[LABEL], recipe.audio.sample_rate
    probabilities = target.probabilities(brain.scores[recipe.predict_from])  # [utterances, classes]
    answers = target.answers(probabilities)
    rows = []
    for u, answer, row in zip(utterances, answers, probabilities, strict=True):
        seconds = stretch(u.path, start_s=u.start, end_s=u.end).samples(rate) / rate
        facts = {"id": u.id, "speaker": u.speaker or "", "gender": u.gender or "", "seconds": f"{seconds:.3f}"}
        facts |= {"reference": u.label, "predicted": answer}
        rows.append(facts | {f"p_{label}": repr(p) for label, p in zip(target.classes, row.tolist(), strict=True)})
    folder.write_rows(PREDICTIONS if part == "test" else VALIDATION, rows)
    return target.summary([u.label for u in utterances], answers)


def _write_embeddings(folder: RunFolder, preparation: Preparation, brain: "SystemBrain") -> dict[str, dict[str, float]]:
    """Write the embeddings of `brain.evaluate` on the test part; returns the metrics of each head for the label."""
    embeddings, test, target = brain.embeddings, preparation.part("test"), preparation.targets[LABEL]
    reference = [utterance.label for utterance in test]
    arrays = {name: embeddings[name].astype(np.float32) for name in embeddings}
    arrays |= {"id": np.array([utterance.id for utterance in test]), "reference": np.array(reference)}
    arrays |= {"note": np.array(folder.stamp)} if folder.stamp else {}
    archive = io.BytesIO()
    np.savez_compressed(archive, **arrays)
    folder.write(EMBEDDINGS, archive.getvalue())
    heads = preparation.source.recipe.model.heads.items()
    return {n: target.metrics(reference, target.answers(brain.scores[n])) for n, spec in heads if spec.target == LABEL}


def write_results(
    folder: RunFolder, preparation: Preparation, brain: "SystemBrain", metrics: dict[str, Any], versions: dict[str, str]
) -> None:
    """Write the test part's embeddings, then results.json; `metrics`: part -> what `write_predictions` returned."""
    import torch

    from toolkit.distributed import ranks
    from toolkit.hardware import device_name

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
