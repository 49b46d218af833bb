"""`toolkit compare`: two trained systems on the same audio, paired by speaker."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from toolkit.corpus import read_manifest
from toolkit.errors import PredictionError
from toolkit.inference.predict.covariate_values import GivenCovariates
from toolkit.inference.predict.evaluation import ends, nameless_note
from toolkit.inference.predict.label_map import map_corpus, read_label_map
from toolkit.inference.predict.labelled import CorpusAnswers, Settings, answer_corpus
from toolkit.inference.predict.telling import say_stamps
from toolkit.report.tables.accuracy import comparison_notes
from toolkit.statistics import (
    LEVEL,
    METRICS,
    Accuracies,
    Comparison,
    Interval,
    SpeakerConfusions,
    compare,
    interval,
    pooled_accuracies,
)


@dataclass(frozen=True, eq=False)
class Pair:
    """Two systems' answers for the same utterances, and what follows from them.

    Args:
        answers: bundle -> what its system said; A first.
        n_skipped: how many utterances one of them could not read.
        stamps: bundle -> what has to be said of its results.
    """

    answers: Mapping[str, CorpusAnswers]
    n_skipped: int
    stamps: Mapping[str, tuple[str, ...]]

    @property
    def first(self) -> CorpusAnswers:
        """The answers of A, whose utterances are those of B."""
        return next(iter(self.answers.values()))

    @cached_property
    def confusions(self) -> dict[str, SpeakerConfusions]:
        """Bundle -> counts by speaker, both in the order of A's classes."""
        return {name: found.confusions(self.first.labels) for name, found in self.answers.items()}

    @property
    def accuracies(self) -> dict[str, Accuracies]:
        """Bundle -> WA and UA over all utterances."""
        return {name: pooled_accuracies(found.counts) for name, found in self.confusions.items()}

    @cached_property
    def intervals(self) -> dict[str, dict[str, Interval | None]]:
        """Bundle -> metric -> interval over speakers; None where they are too few."""
        return {
            name: {metric: interval(found.counts, metric) for metric in METRICS}
            for name, found in self.confusions.items()
        }

    @cached_property
    def differences(self) -> list[Comparison]:
        """B less A in WA and UA."""
        return compare(self.confusions, baseline=next(iter(self.answers)))

    @property
    def notes(self) -> list[str]:
        """What has to be known to read the figures."""
        notes = [f"Not read by both, and left out: {self.n_skipped}."] if self.n_skipped else []
        if self.first.missing:
            notes.append(f"No utterance is {' or '.join(self.first.missing)}.")
        return [*notes, *nameless_note(self.first), *comparison_notes(self.differences)]

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON; accuracies are fractions of 1, differences are B less A."""
        intervals, accuracies = self.intervals, self.accuracies
        systems = [
            {
                "bundle": name,
                **{metric: getattr(accuracies[name], metric) for metric in METRICS},
                "intervals": {metric: ends(found) for metric, found in intervals[name].items()},
                "stamps": list(self.stamps[name]),
            }
            for name in self.answers
        ]
        differences = {
            found.metric: {
                "difference": found.difference,
                "interval": ends(found.interval),
                "p": found.p,
                "p_corrected": found.p_corrected,
                "verdict": found.verdict,
            }
            for found in self.differences
        }
        return {
            "systems": systems,
            "differences": differences,
            "interval_level": LEVEL,
            "n_utterances": len(self.first.utterances),
            "n_speakers": len(self.first.speakers),
            "n_skipped": self.n_skipped,
            "missing_classes": self.first.missing,
            "notes": self.notes,
        }


def compare_bundles(a: str, b: str, manifest: str, settings: Settings, *, say: Callable[[str], None]) -> Pair:
    """Test two systems on a labelled manifest.

    Args:
        a: the bundle of the one that is compared with.
        b: the other's.
        manifest: the corpus's.
        settings: the options; a covariate is given to the system that wants it.
        say: prints a line for the reader.

    Raises:
        ToolkitError: if a bundle, the manifest or an option is wrong, a label is none of the systems', or they have
            not the same classes.
    """
    if a == b:
        raise PredictionError(f"{a} is compared with itself: name two bundles")
    label_map, given = read_label_map(settings.label_map), GivenCovariates.read(settings.covariates)
    utterances = read_manifest(manifest)
    from toolkit.inference.predict import loading

    models = {name: loading.load(name, device=settings.device) for name in (a, b)}
    classes, others = (models[name].labels for name in (a, b))
    if set(classes) != set(others):
        raise PredictionError(
            f"{a} knows the classes {', '.join(classes)} and {b} knows {', '.join(others)}: only systems with the same "
            "classes can be compared"
        )
    wanted = {name: values for model in models.values() for name, values in model.usage.covariates.items()}
    given.check_names(wanted)
    mapped = map_corpus(utterances, classes, label_map)
    answers = {}
    for name, model in models.items():
        say_stamps([f"{name}: {stamp}" for stamp in model.usage.stamps], say)
        of_model = given.only(model.usage.covariates)
        answers[name] = answer_corpus(
            model, mapped.utterances, of_model, batch_size=settings.batch_size, say=say, shown=sys.stderr.isatty()
        )
    both = set.intersection(*({u.id for u in found.utterances} for found in answers.values()))
    if not both:
        raise PredictionError("No utterance could be labelled by both systems: there is nothing to compare")
    return Pair(
        {name: found.of(both) for name, found in answers.items()},
        len(mapped.utterances) - len(both),
        {name: model.usage.stamps for name, model in models.items()},
    )
