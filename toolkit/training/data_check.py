"""The checks of `toolkit check-data`: everything in a recipe and its corpus that would stop a training."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from toolkit.corpus.checks import CheckReport, check_corpus
from toolkit.corpus.folds import Fold, fold_table
from toolkit.corpus.utterance import Problem
from toolkit.errors import AudioError, CorpusError, ProtocolError, ToolkitError
from toolkit.plugins.kinds import parts
from toolkit.plugins.plugin import ORIGIN, plugin_failures
from toolkit.plugins.registry import find_part
from toolkit.training.preparation import Preparation, Source, prepare, prepare_folds


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
    """Build what a training builds, and run it on two segments; returns warnings about the bundle that it starts from.

    An error of a plugin is a FailedPlugin.
    """
    import torch

    from toolkit.data.loaders import in_order
    from toolkit.training.init_from import seen_before
    from toolkit.training.loop.objective import build_objective
    from toolkit.training.loop.optimizers import parameter_groups
    from toolkit.training.run import Run

    run = Run(preparation, say=lambda line: None)
    counts = {name: [1] * len(target.classes) for name, target in preparation.targets.items()}
    objective = build_objective(run.recipe, run.system, counts)
    parameter_groups(run.system, objective, run.training)
    stamps = seen_before(run.seen, preparation.part("test"))
    fold, system = preparation.fold.name, run.system.eval()
    warnings = [Problem("init-from", "warning", f"fold {fold!r}: {stamp}", fold) for stamp in stamps]
    try:
        run.data.training_batches()
        run.data.loader(run.data.evaluation)
        batch = next(iter(in_order(run.data.train, sampler=range(min(2, len(run.data.train))))))
    except (AudioError, CorpusError):  # the check of every file reports it
        return warnings
    with torch.no_grad(), plugin_failures():
        features = system.features(batch.inputs)
        parts = (*system.levels.values(), system.fusion, *system.heads.values())
        if not any(part.fits and ORIGIN in vars(part) for part in parts):  # others' plugins may need their `fit` first
            objective(system(features, batch.covariates), batch.targets)
    return warnings
