"""A finished run, read from its folder: what a bundle is made of, beside the weights. Imports no torch."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from toolkit.corpus import Utterance, read_manifest
from toolkit.corpus.folds import PARTS, Fold, pick_fold
from toolkit.corpus.protocols import make_folds
from toolkit.corpus.targets import LABEL, Target
from toolkit.errors import BundleError
from toolkit.experiment.outcome import FinishedRun
from toolkit.inference.bundle.config import FileFacts, TrainingSummary
from toolkit.inference.summary import TestSummary
from toolkit.plugins.registry import find_part
from toolkit.recipe.loading import load_recipe
from toolkit.recipe.schema import Recipe
from toolkit.report.evidence import Answers, read_answers
from toolkit.training.identity import manifest_rows
from toolkit.training.preparation import find_targets
from toolkit.training.run_folder import CHECKPOINTS, MANIFEST, RECIPE, RESULTS, folders_with_same_training, read_results

NOTE = "note"  # the manifest's column that holds the stamps
QUOTED = ("epoch", "epochs", "parameters", "precision", "hardware", "seconds", "versions")  # results.json -> the bundle
NEEDED = ("protocol", "fold", "seed", "labels", "pretrained", "stamps", *QUOTED)  # of results.json


@dataclass(frozen=True)
class TrainedRun:
    """A finished run.

    Args:
        folder: the run's.
        recipe: resolved, with the run's seed.
        results: the content of results.json.
        utterances: those that the recipe uses.
        targets: of its heads, and its covariates, by name.
        fold: the split that was trained.
        answers: what the system predicted for the test part.
    """

    folder: Path
    recipe: Recipe
    results: Mapping[str, Any]
    utterances: tuple[Utterance, ...]
    targets: Mapping[str, Target]
    fold: Fold
    answers: Answers

    def checkpoint_folders(self) -> list[Path]:
        """Where its checkpoints may be: its own folder, else that of a run whose training it was read from."""
        folders = folders_with_same_training(self.folder, system=self.recipe.name, protocol=self.fold.protocol)
        return [folder / CHECKPOINTS for folder in folders if (folder / CHECKPOINTS).is_dir()]

    def summary(self, *, random_backbones: tuple[str, ...]) -> TrainingSummary:
        """What a bundle records of the run.

        Args:
            random_backbones: levels that are usually pre-trained and started from random weights.
        """
        corpus = find_part("corpus", self.recipe.corpus).load()
        rows = json.dumps(manifest_rows(self.utterances), sort_keys=True, default=str)
        speakers = {utterance.id: utterance.speaker for utterance in self.utterances}
        parts = {part: getattr(self.fold, part) for part in PARTS}
        return TrainingSummary(
            corpus=self.recipe.corpus.plugin,
            description=corpus.description,
            licence=corpus.licence,
            manifest_sha256=FileFacts.of(rows.encode()).sha256,
            protocol=self.fold.protocol,
            fold=self.fold.name,
            seed=self.recipe.seed,
            utterances={part: len(ids) for part, ids in parts.items()},
            speakers={part: len({speakers[name] for name in ids} - {None}) for part, ids in parts.items()},
            pretrained={name: weights_name(source) for name, source in self.results["pretrained"].items()},
            random_backbones=random_backbones,
            stamps=tuple(self.results["stamps"]),
            test=TestSummary.of(self.answers, self.targets[LABEL]),
            **{key: self.results[key] for key in QUOTED},
        )


def read_trained_run(path: str | Path) -> TrainedRun:
    """Read a run.

    Args:
        path: its folder, or its results.json.

    Raises:
        BundleError: if there is no run, it is not finished, or its files do not belong together.
        ToolkitError: if one of its files is damaged.
    """
    path = Path(path).expanduser()
    folder = path.parent if path.name == RESULTS else path
    if not (folder / RESULTS).is_file():
        if (folder / RECIPE).is_file():
            raise BundleError(
                f"The run in {folder} is not finished (it has no {RESULTS}): give the command that trains it again."
            )
        raise BundleError(f"No run at {path}: the folder of a finished run, or its {RESULTS}, is needed.")
    results = read_results(folder / RESULTS)
    if missing := [key for key in NEEDED if not isinstance(results, Mapping) or key not in results]:
        raise BundleError(
            f"{folder / RESULTS} is damaged (it has no {missing[0]!r}): delete the run and train it again."
        )
    protocol, seed = results["protocol"], results["seed"]
    recipe = replace(load_recipe(folder / RECIPE), seed=seed)
    utterances = tuple(map(_without_note, read_manifest(folder / MANIFEST)))
    fold = pick_fold(make_folds(utterances, protocol, **recipe.protocol.args), results["fold"])
    targets = find_targets(recipe, utterances, results["labels"])
    run = FinishedRun(recipe.name, protocol, fold.name, seed, folder, recipe.as_dict())
    answers = read_answers(run, targets[LABEL].classes)
    if sorted(answers.id.tolist()) != sorted(fold.test):
        raise BundleError(f"{folder}: its predictions.csv and its manifest.csv belong to different runs.")
    return TrainedRun(folder, recipe, results, utterances, targets, fold, answers)


def weights_name(source: str | None) -> str | None:
    """How pre-trained weights are named: a path by its last part, since a bundle shows nothing of its maker's disk.

    >>> weights_name("/data/checkpoints/w2v"), weights_name("facebook/wav2vec2-base-960h")
    ('w2v', 'facebook/wav2vec2-base-960h')
    """
    if source is None:
        return None
    is_path = re.match(r"[/~.\\]|\w:[/\\]", source) or source.count("/") > 1
    return re.split(r"[/\\]", source.rstrip("/\\"))[-1] if is_path else source


def _without_note(utterance: Utterance) -> Utterance:
    return replace(utterance, extra={key: value for key, value in utterance.extra.items() if key != NOTE})
