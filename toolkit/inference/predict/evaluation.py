"""`toolkit evaluate`: how well a trained system does on another corpus."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from toolkit.corpus import read_manifest
from toolkit.inference.predict.covariate_values import GivenCovariates
from toolkit.inference.predict.label_map import map_corpus, read_label_map
from toolkit.inference.predict.labelled import CorpusAnswers, Settings, answer_corpus
from toolkit.inference.predict.telling import say_stamps
from toolkit.statistics import (
    LEVEL,
    METRICS,
    MIN_SPEAKERS,
    Accuracies,
    Interval,
    expected_calibration_error,
    interval,
    metrics,
    speaker_confusions,
)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A system's answers on a corpus, and what follows from them.

    Args:
        bundle: the system's, as it was named.
        manifest: the corpus's, as it was named.
        answers: what the system said.
        left_out: label -> how many utterances were left out on purpose.
        stamps: what has to be said of every result.
    """

    bundle: str
    manifest: str
    answers: CorpusAnswers
    left_out: Mapping[str, int]
    stamps: tuple[str, ...]

    @property
    def summary(self) -> dict[str, Any]:
        """Accuracies, F1, recall and confusion, as `toolkit.statistics.metrics.summary` has them."""
        return metrics.summary(self.answers.reference, self.answers.predicted, labels=self.answers.labels)

    @cached_property
    def intervals(self) -> dict[str, Interval | None]:
        """Of "wa" and "ua", over speakers; None where they are too few."""
        counts = self.answers.confusions(self.answers.labels).counts
        return {metric: interval(counts, metric) for metric in METRICS}

    @property
    def by_gender(self) -> dict[str, Accuracies]:
        """Accuracies of women ("F") and men ("M"), as far as genders are known."""
        genders = [u.gender or "" for u in self.answers.utterances]
        answers = self.answers
        found = speaker_confusions(genders, answers.reference, answers.predicted, classes=answers.labels).accuracies
        return {gender: found[gender] for gender in sorted(found) if gender}

    @property
    def calibration_error(self) -> float:
        """How far confidences are from accuracies, 0 to 1."""
        answers = self.answers
        return expected_calibration_error(answers.probabilities, answers.reference, labels=answers.labels)

    @property
    def notes(self) -> list[str]:
        """What has to be known to read the figures."""
        answers, notes = self.answers, []
        if answers.missing:
            there = len(answers.labels) - len(answers.missing)
            classes = f"{there} classes that occur" if there > 1 else "one class that occurs"
            notes.append(f"No utterance is {' or '.join(answers.missing)}: UA is over the {classes}.")
        if self.left_out:
            listed = ", ".join(f"{label} ({count})" for label, count in self.left_out.items())
            notes.append(f"Left out, as --map says: {listed}.")
        if answers.n_skipped:
            notes.append(f"Not read, and left out: {answers.n_skipped}.")
        notes += nameless_note(answers)
        if answers.speakers and None in self.intervals.values():
            notes.append(f"Too few speakers: below {MIN_SPEAKERS}, there is no interval.")
        return notes

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON; accuracies are fractions of 1."""
        return {
            "bundle": self.bundle,
            "manifest": self.manifest,
            **self.summary,
            "interval_level": LEVEL,
            "intervals": {metric: ends(found) for metric, found in self.intervals.items()},
            "n_speakers": len(self.answers.speakers),
            "by_gender": {gender: vars(found) for gender, found in self.by_gender.items()},
            "calibration_error": self.calibration_error,
            "missing_classes": self.answers.missing,
            "left_out": dict(self.left_out),
            "n_skipped": self.answers.n_skipped,
            "notes": self.notes,
            "stamps": list(self.stamps),
        }


def evaluate(bundle: str, manifest: str, settings: Settings, *, say: Callable[[str], None]) -> Evaluation:
    """Test a system on a labelled manifest.

    Args:
        bundle: the system's.
        manifest: the corpus's.
        settings: the options.
        say: prints a line for the reader.

    Raises:
        ToolkitError: if the bundle, the manifest or an option is wrong, or a label is none of the system's.
    """
    label_map, given = read_label_map(settings.label_map), GivenCovariates.read(settings.covariates)
    utterances = read_manifest(manifest)
    from toolkit.inference.predict import loading

    model = loading.load(bundle, device=settings.device)
    mapped = map_corpus(utterances, model.labels, label_map)
    say_stamps(model.usage.stamps, say)
    answers = answer_corpus(
        model, mapped.utterances, given, batch_size=settings.batch_size, say=say, shown=sys.stderr.isatty()
    )
    return Evaluation(bundle, manifest, answers, mapped.left_out, model.usage.stamps)


def ends(found: Interval | None) -> list[float] | None:
    """An interval for JSON."""
    return None if found is None else [found.low, found.high]


def nameless_note(answers: CorpusAnswers) -> list[str]:
    """What has to be said where speakers are not known."""
    if not answers.speakers:
        return ["The manifest names no speakers: there are no intervals and no tests."]
    if answers.nameless:
        return [f"Utterances without a speaker ({answers.nameless}) count as one speaker's."]
    return []
