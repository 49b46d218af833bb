"""The checks of `toolkit check-data`: everything in a recipe and its corpus that would stop a training."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.corpus.checks import CheckReport, check_corpus
from toolkit.corpus.folds import Fold, fold_table
from toolkit.corpus.utterance import Problem
from toolkit.errors import AudioError, ProtocolError, ToolkitError
from toolkit.plugins.kinds import parts
from toolkit.plugins.plugin import ORIGIN, plugin_failures
from toolkit.plugins.registry import find_part
from toolkit.training.preparation import Preparation, Source, prepare, prepare_folds

if TYPE_CHECKING:
    from toolkit.model.system import System
    from toolkit.training.loop.objective import Objective


def check_source(source: Source) -> CheckReport:
    """Check a recipe's plugins and their arguments, and its corpus as the recipe uses it: names, folds, every file."""
    recipe, utterances = source.recipe, source.read()
    problems: list[Problem] = []
    folds: list[Fold] = []
    refused: list[Fold] = []  # for a shared speaker; its audio is compared all the same

    @contextmanager
    def noted(kind: str, where: str) -> Iterator[None]:
        try:
            yield
        except ToolkitError as error:
            problems.append(Problem(kind, "error", str(error), where))
            if isinstance(error, ProtocolError) and error.fold:
                refused.append(error.fold)

    with noted("recipe", recipe.name):
        for kind, _, part in parts(recipe):
            find_part(kind.name, part).check_args(part.args)
    with noted("protocol", recipe.protocol.name):
        folds = [preparation.fold for preparation in prepare_folds(source, utterances)]
        preparation = prepare(source, utterances)
        if not problems:
            with noted("recipe", recipe.name):
                problems += _rehearse(preparation)
        problems += preparation.warnings
    report = check_corpus(
        utterances,
        labels=recipe.labels,
        label_map=recipe.label_map,
        sample_rate=recipe.audio.sample_rate,
        segment_samples=recipe.audio.segment_samples,
        covariates=[name for name, spec in recipe.model.covariates.items() if spec.source == "label"],
        folds=folds or refused if recipe.shared_audio == "refuse" else (),
    )
    reported = tuple(problem.message for problem in report.problems)  # an error about labels begins with one
    problems = [problem for problem in problems if not problem.message.startswith(reported)]
    problems = sorted([*problems, *report.problems], key=lambda problem: problem.severity)
    return replace(report, problems=problems, folds=fold_table(folds, utterances))


def _rehearse(preparation: Preparation) -> list[Problem]:
    """Build what a training builds, and run it once; returns warnings about the bundle that it starts from."""
    from toolkit.data.augmentation import build_augmentations
    from toolkit.model.hub import local_bundle
    from toolkit.training.device import choose_device
    from toolkit.training.epoch_log import EpochLog
    from toolkit.training.init_from import build_to_train, seen_before, start_from
    from toolkit.training.loop.objective import build_objective
    from toolkit.training.loop.optimizers import parameter_groups
    from toolkit.training.run_data import RunData
    from toolkit.training.run_folder import RunFolder

    recipe, targets = preparation.source.recipe, preparation.targets
    system = build_to_train(recipe, targets)
    counts = {name: [1] * len(target.classes) for name, target in targets.items()}
    objective = build_objective(recipe, system, counts)
    parameter_groups(system, objective, recipe.training)
    build_augmentations(recipe)
    choose_device(recipe)
    EpochLog(RunFolder(Path(), writes=False), recipe, str)
    if recipe.training.batch_seconds is not None:
        with suppress(AudioError):  # the check of every file reports it
            data = RunData(preparation, fixed_samples=system.fixed_samples)
            data.training_batches()
            data.loader(data.evaluation)
    _run_once(system, objective, preparation)
    if recipe.training.init_from is None:
        return []
    _, seen = start_from(local_bundle(recipe.training.init_from), system, recipe, targets)
    fold = preparation.fold.name
    stamps = seen_before(seen, preparation.part("test"))
    return [Problem("init-from", "warning", f"fold {fold!r}: {stamp}", fold) for stamp in stamps]


def _run_once(system: "System", objective: "Objective", preparation: Preparation) -> None:
    """Run a system and its losses on two utterances; an error of a plugin is a FailedPlugin."""
    import torch

    from toolkit.training.run_data import RunData

    few = replace(preparation, fold=replace(preparation.fold, train=preparation.fold.train[:2]), evaluated=())
    try:
        segments = RunData(few, fixed_samples=system.fixed_samples).train
        batch = segments.collate([segments[i] for i in range(min(2, len(segments)))])
    except ToolkitError:  # the checks of the corpus report it
        return
    if isinstance(batch, ToolkitError):
        return
    with torch.no_grad(), plugin_failures():
        features = system.eval().features(batch.inputs)
        parts = (*system.levels.values(), system.fusion, *system.heads.values())
        if not any(part.fits and ORIGIN in vars(part) for part in parts):  # others' plugins may need their `fit` first
            objective(system(features, batch.covariates), batch.targets)
