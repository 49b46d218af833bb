"""The checks of `toolkit check-data`: everything in a recipe and its corpus that would stop a training."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from toolkit.corpus.checks import CheckReport, check_corpus
from toolkit.corpus.folds import Fold, fold_table
from toolkit.corpus.utterance import Problem
from toolkit.errors import ProtocolError, ToolkitError
from toolkit.plugins.kinds import parts
from toolkit.plugins.registry import find_part
from toolkit.training.preparation import Source, prepare, prepare_folds


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
                from toolkit.training.run import Run

                name = preparation.fold.name
                stamps = Run(preparation, say=lambda line: None).rehearse()
                problems += [Problem("init-from", "warning", f"fold {name!r}: {stamp}", name) for stamp in stamps]
        problems += preparation.warnings
    report = check_corpus(utterances, recipe, folds or refused if recipe.shared_audio == "refuse" else ())
    reported = tuple(problem.message for problem in report.problems)  # an error about labels begins with one
    problems = [problem for problem in problems if not problem.message.startswith(reported)]
    problems = sorted([*problems, *report.problems], key=lambda problem: problem.severity)
    return replace(report, problems=problems, folds=fold_table(folds, utterances))
