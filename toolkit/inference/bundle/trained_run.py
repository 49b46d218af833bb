"""A finished run, read from its folder: what a bundle is made of, beside the weights; no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from toolkit.corpus import Utterance, read_manifest
from toolkit.corpus.folds import Fold, pick_fold
from toolkit.corpus.protocols import PROTOCOLS, make_folds, training_protocol
from toolkit.corpus.targets import LABEL, Target
from toolkit.errors import BundleError
from toolkit.experiment.outcome import FinishedRun
from toolkit.recipe.loading import load_recipe
from toolkit.recipe.schema import Recipe
from toolkit.report.evidence import Answers, read_answers
from toolkit.training.preparation import find_targets
from toolkit.training.run_folder import CHECKPOINTS, MANIFEST, RECIPE, RESULTS, RunFolder, read_results

NOTE = "note"  # the manifest's column that holds the stamps
NEEDED = (  # of results.json
    *("protocol", "fold", "seed", "labels", "epoch", "epochs", "pretrained", "parameters", "precision", "hardware"),
    *("seconds", "versions", "stamps"),
)


@dataclass(frozen=True)
class TrainedRun:
    """A finished run.

    Args:
        folder: the run's.
        recipe: resolved.
        results: the content of results.json.
        utterances: those that the recipe uses.
        targets: of its heads, and its covariates, by name.
        fold: the split that was trained.
        answers: what the system said of the test part.
    """

    folder: Path
    recipe: Recipe
    results: Mapping[str, Any]
    utterances: tuple[Utterance, ...]
    targets: Mapping[str, Target]
    fold: Fold
    answers: Answers

    def part(self, name: str) -> list[Utterance]:
        """The utterances of "train", "valid" or "test"."""
        members = set(getattr(self.fold, name))
        return [utterance for utterance in self.utterances if utterance.id in members]

    def checkpoint_folders(self) -> list[Path]:
        """Where its checkpoints may be: its own folder, else that of a run whose training it was read from."""
        protocol, results = self.fold.protocol, self.results
        identity = self.folder.name.rpartition("-")[2]
        same = [p for p in PROTOCOLS if training_protocol(p) == training_protocol(protocol) and p != protocol]
        names = [
            RunFolder.name(
                system=self.recipe.name, protocol=p, fold=self.fold.name, seed=results["seed"], identity=identity
            )
            for p in same
        ]
        folders = [self.folder, *(self.folder.with_name(name) for name in names)]
        return [folder / CHECKPOINTS for folder in folders if (folder / CHECKPOINTS).is_dir()]


def read_trained_run(path: str | Path) -> TrainedRun:
    """Read a run.

    Args:
        path: its folder, or its results.json.

    Raises:
        BundleError: if there is no run, it is not finished, or its files do not belong together.
        ToolkitError: if one of its files is damaged.
    """
    folder = run_folder(path)
    results = _read_whole_results(folder / RESULTS)
    protocol, seed = results["protocol"], results["seed"]
    recipe = replace(load_recipe(folder / RECIPE), seed=seed)
    utterances = tuple(map(_without_note, read_manifest(folder / MANIFEST)))
    fold = pick_fold(make_folds(utterances, protocol, **recipe.protocol.args), results["fold"])
    targets = find_targets(recipe, utterances, results["labels"])
    run = FinishedRun(recipe.name, protocol, fold.name, seed, folder, recipe.as_dict())
    answers = read_answers(run, targets[LABEL].classes)
    if sorted(answers.id.tolist()) != sorted(fold.test):
        raise BundleError(f"{folder}: its predictions.csv and its manifest.csv are of different runs.")
    return TrainedRun(folder, recipe, results, utterances, targets, fold, answers)


def run_folder(path: str | Path) -> Path:
    """The folder of a finished run that is named by itself or by its results.json.

    Raises:
        BundleError: if there is none, or its run is not finished.
    """
    path = Path(path).expanduser()
    folder = path.parent if path.name == RESULTS else path
    if (folder / RESULTS).is_file():
        return folder
    if (folder / RECIPE).is_file():
        raise BundleError(
            f"The run in {folder} is not finished (it has no {RESULTS}): give the command that trains it again."
        )
    raise BundleError(f"No run at {path}: the folder of a finished run, or its {RESULTS}, is needed.")


def _read_whole_results(path: Path) -> Mapping[str, Any]:
    results = read_results(path)
    missing = [key for key in NEEDED if not isinstance(results, Mapping) or key not in results]
    if missing:
        raise BundleError(f"{path} is damaged (it has no {missing[0]!r}): delete the run and train it again.")
    return results


def _without_note(utterance: Utterance) -> Utterance:
    extra = {key: value for key, value in utterance.extra.items() if key != NOTE}
    return replace(utterance, extra=extra)
