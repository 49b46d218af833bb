"""Exports a finished run as a bundle; torch is imported only after the run has been read."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.corpus import Utterance, read_manifest
from toolkit.corpus.folds import PARTS, Fold, pick_fold
from toolkit.corpus.protocols import make_folds, selects_on
from toolkit.corpus.targets import LABEL, Target
from toolkit.errors import BundleError
from toolkit.files import read_json
from toolkit.inference.bundle.card import card_text
from toolkit.inference.bundle.config import CONFIG, BundleConfig, FileFacts, RunSummary, read_config
from toolkit.inference.summary import TestSummary, abstaining, calibration
from toolkit.model.archive import CARD, ONNX, SEEN, WEIGHTS, write_files
from toolkit.model.seen import Seen
from toolkit.plugins.registry import find_part, library_versions, used_versions
from toolkit.plugins.signatures import resolved_arguments
from toolkit.recipe.loading import load_recipe
from toolkit.recipe.schema import ModelSpec, PartSpec, Recipe
from toolkit.statistics.confidence import Confidence, at_temperature
from toolkit.training.predictions import Answers, read_answers, read_confidence
from toolkit.training.preparation import find_targets
from toolkit.training.run_folder import (
    CHECKPOINTS,
    MANIFEST,
    ORIGIN,
    RECIPE,
    RESULTS,
    RunFolder,
    manifest_rows,
    read_results,
)

if TYPE_CHECKING:
    from toolkit.model.system import System


@dataclass(frozen=True)
class TrainedRun:
    """A finished run, read from its folder: `targets` of its heads and its covariates, `answers` for the test part."""

    folder: Path
    recipe: Recipe
    results: Mapping[str, Any]
    utterances: tuple[Utterance, ...]
    targets: Mapping[str, Target]
    fold: Fold
    answers: Answers
    confidence: Confidence

    def summary(self, *, random_backbones: tuple[str, ...]) -> RunSummary:
        """What a bundle records about the run."""
        corpus = find_part("corpus", self.recipe.corpus).load()
        rows = json.dumps(manifest_rows(self.utterances), sort_keys=True, default=str)
        speakers = {utterance.id: utterance.speaker for utterance in self.utterances}
        parts = {part: getattr(self.fold, part) for part in PARTS}
        copied = ["corpus", "protocol", "fold", "seed", "stamps", "epoch", "epochs"]
        copied += ["parameters", "precision", "hardware", "seconds", "versions"]
        return RunSummary(
            description=corpus.description,
            licence=corpus.licence,
            manifest_sha256=FileFacts.of(rows.encode()).sha256,
            utterances={part: len(ids) for part, ids in parts.items()},
            speakers={part: len({speakers[name] for name in ids} - {None}) for part, ids in parts.items()},
            pretrained={name: source and weights_name(source) for name, source in self.results["pretrained"].items()},
            random_backbones=random_backbones,
            test=TestSummary.of(self.answers, self.targets[LABEL]),
            **{key: self.results[key] for key in copied},
        )


def read_trained_run(path: str | Path) -> TrainedRun:
    """Read a run from its folder, or its results.json; errors as for `export_bundle`."""
    path = Path(os.path.expanduser(path))
    folder = path.parent if path.name == RESULTS else path
    if not os.path.exists(folder / RESULTS):
        raise BundleError(f"{folder} is not the folder of a finished run (it has no {RESULTS}): name another.")
    results = read_results(folder / RESULTS, trials=True)
    if not results.get("tested", True):
        raise BundleError(f"{folder} is a trial of a search, without test or weights: train the recipe that it found.")
    recipe = replace(load_recipe(folder / RECIPE), seed=results["seed"])
    read = read_manifest(folder / MANIFEST)
    # the manifest's column `note` holds the stamps
    utterances = tuple(replace(u, extra={key: v for key, v in u.extra.items() if key != "note"}) for u in read)
    fold = pick_fold(make_folds(utterances, results["protocol"], **recipe.protocol.args), results["fold"])
    targets = find_targets(recipe, utterances, results["labels"])
    answers = read_answers(folder, targets[LABEL].classes, confusion=results["confusion"])
    confidence = read_confidence(folder, targets[LABEL].classes, results)
    if sorted(answers.id.tolist()) != sorted(fold.test) or confidence.utterances not in (0, len(fold.valid)):
        raise BundleError(f"{folder}: its predictions and its {MANIFEST} belong to different runs.")
    return TrainedRun(folder, recipe, results, utterances, targets, fold, answers, confidence)


def weights_name(source: str) -> str:
    """The name that a bundle gives pre-trained weights: only the last part of a path, to hide its maker's folders."""
    is_path = source.startswith(("/", "~", ".")) or source.partition("@")[0].count("/") > 1 or os.path.isdir(source)
    return Path(source).name if is_path else source


def export_bundle(
    run_folder: str | Path,
    target: str | Path,
    *,
    onnx: bool = False,
    license: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write the system of a finished run, with the weights of the epoch that was tested; returns the target.

    Args: run_folder: the run's folder, or its results.json; target: a folder to make, or a file if its name ends in
        .zip; onnx: whether to add model.onnx; license: of the weights, as the Hugging Face hub calls it; say: prints a
        note, such as a stamp of the results, or code that has changed since the training.
    Raises: BundleError if the run is not finished, the target exists, or the system or its ONNX model cannot be
        exported; ToolkitError if a file of the run is damaged, or its system cannot be built.
    """
    target = Path(os.path.expanduser(target))
    if os.path.lexists(target):
        raise BundleError(f"{target} exists already, and is left as it is: choose another name or move it away.")
    run = read_trained_run(run_folder)
    for name, spec in run.recipe.model.covariates.items():
        if spec.source == "shuffled":
            problem = f"model.covariates.{name}.source is shuffled: use label or predicted"
            raise BundleError(f"{run.recipe.name} is a control and cannot be a bundle: {problem}.")
    for note in _notes(run):
        say(f"NOTE: {note}")

    from safetensors.torch import save

    from toolkit.inference.bundle.restoring import restore_system

    system = _trained_system(run)
    state = {name: value.detach().cpu().contiguous().clone() for name, value in system.state_dict().items()}
    config = _describe(run, system)
    try:
        restore_system(read_config(config.text().encode()), state)  # as a reader would
    except BundleError as error:
        hint = "`toolkit check-plugin` finds a plugin that answers differently at each call"
        raise BundleError(f"{config.name}: {error} Check the portable_args of its levels; {hint}.") from error
    trained = {*run.fold.train, *run.fold.valid, *getattr(run.fold, selects_on(run.fold.protocol))}
    seen = Seen.of([utterance for utterance in run.utterances if utterance.id in trained])
    if os.path.isfile(run.folder / ORIGIN):  # it started from a bundle
        seen |= Seen(**read_json(run.folder / ORIGIN, BundleError, "train the run again")["seen"])
    files = {WEIGHTS: save(state), CARD: card_text(config, license).encode(), SEEN: json.dumps(vars(seen)).encode()}
    if onnx:
        from toolkit.inference.onnx.export import onnx_model

        files[ONNX], _ = onnx_model(system, config.usage)
    config = replace(config, files={name: FileFacts.of(data) for name, data in files.items()})
    write_files(target, {CONFIG: config.text().encode(), **files})
    return target


def _notes(run: TrainedRun) -> Iterator[str]:
    """What to know before an export: stamps, a missing temperature, code that has changed since the training."""
    yield from run.results["stamps"]
    if not run.confidence.utterances:
        yield "no temperature: validation and test are one part, or an earlier version trained the run"
    for name, here in used_versions(run.recipe).items():
        if (trained := run.results["versions"].get(name)) != here:
            yield f"trained with {name} {trained}, exported with {here}: they may compute different results"


def _trained_system(run: TrainedRun) -> "System":
    """The run's system in eval() mode."""
    import torch

    from toolkit.training.init_from import build_to_train
    from toolkit.training.loop.checkpoints import Checkpoints, load_state

    same_training = RunFolder(run.folder).trained_with(run.recipe.name, run.fold.protocol)
    folders = [folder / CHECKPOINTS for folder in same_training if os.path.isdir(folder / CHECKPOINTS)]
    if not folders:
        raise BundleError(f"{run.folder} has no checkpoints, and nothing else holds its weights: train it again.")
    best = Checkpoints(folders[0]).best(f"best_{selects_on(run.fold.protocol)}", run.results["epoch"])
    with torch.random.fork_rng(devices=[]):
        system = build_to_train(run.recipe, run.targets)
    load_state(system, best / "system.ckpt")
    for level in system.levels.values():
        level.merge()
    return system.eval()


def _describe(run: TrainedRun, system: "System") -> BundleConfig:
    """The config.json, still without the other files."""
    from toolkit.inference.bundle.restoring import answer_to_trial

    recipe, pretrained = run.recipe, run.results["pretrained"]
    classes = {name: target.classes for name, target in run.targets.items()}
    model = _portable_model(recipe.model, system)
    parts = [model.fusion, *model.levels.values(), *model.heads.values()]
    used = {name: version(name) for name in dict.fromkeys(part.plugin.rpartition(":")[0] for part in parts)}
    backbones = [name for name, level in system.levels.items() if level.random_backbone or level.pretrained]
    random_backbones = tuple(name for name in backbones if pretrained.get(name) is None)
    answers = replace(run.answers, probabilities=at_temperature(run.answers.probabilities, run.confidence.temperature))
    return BundleConfig(
        name=recipe.name,
        distributions=used,
        audio=recipe.audio,
        classes=classes,
        covariates={name: classes[name] for name in system.given_covariates},
        model=model,
        predict_from=recipe.predict_from,
        training=run.summary(random_backbones=random_backbones),
        trial=answer_to_trial(system, recipe),
        confidence=run.confidence,
        calibration=calibration(answers, run.targets[LABEL], run.confidence),
        abstaining=abstaining(answers, run.confidence),
        exported_with=library_versions() | used,
        files={},
    )


def _portable_model(model: ModelSpec, system: "System") -> ModelSpec:
    """The recipe's model with full plugin names and all arguments; those that name checkpoints are replaced."""

    def portable(kind: str, spec: PartSpec, replaced: Mapping) -> PartSpec:
        plugin = find_part(kind, spec)
        args = resolved_arguments(plugin.load(), dict(spec.args) | dict(replaced), context=plugin.context)
        return replace(spec, plugin=plugin.full_name, args=args)

    levels = {name: portable("extractor", p, system.levels[name].portable_args()) for name, p in model.levels.items()}
    heads = {name: portable("head", part, {}) for name, part in model.heads.items()}
    return replace(model, levels=levels, fusion=portable("fusion", model.fusion, {}), heads=heads)
