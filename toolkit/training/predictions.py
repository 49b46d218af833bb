"""Reads a run's predictions: its answers, and the confidence that its validation part gives; no torch."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.corpus.folds import SPEAKER_DEPENDENT_STAMP
from toolkit.errors import ExperimentError, one_line
from toolkit.files import from_cell, read_text
from toolkit.statistics.abstention import UNFITTED, Confidence
from toolkit.statistics.calibration import checked_probabilities
from toolkit.statistics.metrics import confusion_matrix
from toolkit.training.run_folder import PREDICTIONS, RESULTS, VALIDATION, read_results

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


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a run's CSV file; ExperimentError if it cannot be read."""
    try:
        rows = csv.DictReader(io.StringIO(read_text(path), newline=""))
        return [{key: from_cell(text or "") for key, text in row.items()} for row in rows]
    except (OSError, ValueError, csv.Error, AttributeError) as error:
        raise ExperimentError(f"{path} cannot be read ({one_line(error)}): {REMEDY}.") from None


def read_answers(
    folder: Path, labels: Sequence[str], file: str = PREDICTIONS, confusion: list | None = None
) -> Answers:
    """Read the predictions of a run that predicts these labels.

    Args: confusion: that of results.json; older ones have none for the validation part.
    Raises: ExperimentError if the file is damaged, or has another confusion.
    """
    rows = read_csv(folder / file)
    try:
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
    except (KeyError, ValueError, TypeError) as error:
        raise ExperimentError(f"{folder}: {file} is damaged ({error}): {REMEDY}.") from None
    if confusion not in (None, found):
        raise ExperimentError(f"{folder}: {file} and {RESULTS} belong to different runs: {REMEDY}.")
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
