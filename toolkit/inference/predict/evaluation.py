"""Tests trained systems on a labelled corpus, for `toolkit evaluate`, `toolkit compare` and `toolkit stress`."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import toolkit
from toolkit.corpus import Utterance, read_manifest
from toolkit.corpus.utterance import COLUMNS
from toolkit.errors import PredictionError, ToolkitError, did_you_mean, join, listed, nearest
from toolkit.inference.predict.covariates import COLUMN, check_columns, check_names, check_options, covariates_of
from toolkit.inference.predict.model import Model
from toolkit.inference.predict.recordings import Recording, Samples
from toolkit.inference.summary import TestSummary, abstaining, calibration
from toolkit.model.hub import pinned
from toolkit.statistics.comparison import LEVEL, MIN_SPEAKERS
from toolkit.statistics.metrics import METRICS
from toolkit.terminal import progress, say
from toolkit.training.predictions import Answers


@dataclass(frozen=True, eq=False)
class LabelledTest:
    """A system, and the labelled utterances that test it."""

    bundle: str
    model: Model
    manifest: str
    utterances: Sequence[Utterance]  # with the system's classes
    left_out: Mapping[str, int]  # label -> how many were left out on purpose
    covariates: Mapping[str, str]  # that this system needs: a value for all utterances, or `@` and a column
    stamps: tuple[str, ...]  # of its result
    batch_size: int

    def recordings(self) -> list[Recording]:
        """The utterances, with the covariates that the system needs."""
        return [
            Recording(u.path, u.start, u.end, covariates_of(self.covariates, u.value), u.id) for u in self.utterances
        ]

    def run(self, recordings: Iterable[Recording | Samples] | None = None, *, what: str = "labelling") -> Answers:
        """The system's answers on its recordings, or on changed ones; what cannot be read is reported and left out."""
        results = self.model.results(recordings or self.recordings(), batch_size=self.batch_size)
        results = progress(results, what, total=len(self.utterances), shown=sys.stderr.isatty())
        rows = []
        for u, (_, found) in zip(self.utterances, results, strict=True):
            if isinstance(found, ToolkitError):
                say(f"skipped: {found}")
            else:
                probabilities = [*found.probabilities.values()]
                rows.append((u.id, u.speaker or "", u.gender or "", found.seconds, u.label, found.label, probabilities))
        if not rows:
            raise PredictionError("No utterance of the manifest could be labelled: there is nothing to test")
        return Answers(*map(np.array, zip(*rows, strict=True)))

    def figures(self, answers: Answers) -> dict[str, Any]:
        """All figures that follow from answers, JSON-able; accuracies are fractions of 1."""
        usage, confidence = self.model.usage, self.model.usage.confidence
        summary = TestSummary.of(answers, usage.target, all_speakers_known=False)
        values = {
            "bundle": self.bundle,
            "manifest": self.manifest,
            **{key: getattr(summary, key) for key in ("n_utterances", *METRICS, "macro_f1", "f1", "recall")},
            "labels": usage.labels,
            "confusion": summary.confusion,
            "interval_level": LEVEL,
            "intervals": {metric: getattr(summary, f"{metric}_interval") for metric in METRICS},
            "n_speakers": len(set(answers.speaker) - {""}),
            "by_gender": {gender: vars(found) for gender, found in summary.by_gender.items()},
            "calibration_error": summary.ece,
            "temperature": confidence.temperature,
            "calibration": {w: vars(found) for w, found in calibration(answers, usage.target, confidence).items()},
            "abstaining": {rule: vars(found) for rule, found in abstaining(answers, confidence).items()},
            "missing_classes": [label for label in usage.labels if label not in answers.reference],
            "left_out": self.left_out,
            "n_skipped": len(self.utterances) - len(answers.id),
            "stamps": self.stamps,
        }
        return values | {"notes": list(_notes(values, nameless=int((answers.speaker == "").sum())))}


def _notes(values: Mapping[str, Any], nameless: int) -> Iterator[str]:
    """Notes for a reader of the figures; `nameless` utterances have no speaker."""
    if values["missing_classes"]:
        yield f"No utterance is {join(values['missing_classes'], 'or')}: UA is over the classes that occur."
    if values["left_out"]:
        left_out = listed(f"{label} ({count})" for label, count in values["left_out"].items())
        yield f"Left out by --map: {left_out}."
    if values["n_skipped"]:
        yield f"Left out, since they could not be read: {values['n_skipped']}."
    if not values["n_speakers"]:
        yield "The manifest names no speakers: intervals and tests need them."
        return
    if nameless:
        then = "differences then have neither an interval nor a test: name every speaker, or leave these rows out"
        yield f"Utterances without a speaker ({nameless}) count as one speaker's; {then}."
    if values["intervals"]["wa"] is None:
        yield f"Too few speakers: an interval needs at least {MIN_SPEAKERS}."


def evaluate(bundle: str, manifest: str, **options: Any) -> dict[str, Any]:
    """The figures of a system on a labelled manifest; options and errors are those of `read_tests`."""
    (test,) = read_tests([bundle], manifest, **options)
    return test.figures(test.run())


def read_tests(
    bundles: Sequence[str],
    manifest: str,
    *,
    label_map: Mapping[str, str],
    covariates: Mapping[str, str],
    batch_size: int,
    device: str | None,
    columns: Mapping[str, str] | None = None,
) -> list[LabelledTest]:
    """Load systems and read the manifest that tests them, with the options of `toolkit compare`; print their stamps.

    A covariate that no option names is read from the column of its name. Raises: ToolkitError.
    """
    utterances = read_manifest(manifest, columns)
    names = [pinned(bundle) for bundle in bundles]
    if len(set(names)) < len(names):
        raise PredictionError(f"{bundles[0]} is compared with itself: name two bundles")
    if any("margin" in u.extra and f"p_{u.label}" in u.extra for u in utterances):
        say(f"NOTE: {manifest} seems to be an output of `toolkit predict`: its labels are predictions themselves")
    models = [toolkit.load(name, device=device) for name in names]
    first, *others = models
    for bundle, model in zip(bundles[1:], others, strict=True):
        if set(model.labels) != set(first.labels):
            found = f"{bundles[0]} knows the classes {listed(first.labels)} and {bundle} knows {listed(model.labels)}"
            raise PredictionError(f"{found}: only systems with the same classes can be compared")
    check_names([n for model in models for n in model.usage.covariates], covariates)
    utterances, left_out = map_corpus(utterances, first.labels, label_map)
    filled = dict.fromkeys(c for u in utterances for c in (*COLUMNS, *u.extra) if u.value(c))
    check_columns(covariates, filled, manifest)
    tests = []
    for name, model in zip(names, models, strict=True):
        wanted = model.usage.covariates
        given = {c: covariates.get(c, f"{COLUMN}{c}") for c in wanted if c in covariates or c in filled}
        check_options(wanted, given)
        stamps = (*model.usage.stamps, *model.seen.stamps(utterances))
        for stamp in stamps:
            say(f"NOTE: {name}: {stamp}" if others else f"NOTE: {stamp}")
        tests.append(LabelledTest(name, model, manifest, utterances, left_out, given, stamps, batch_size))
    return tests


def map_corpus(
    utterances: Sequence[Utterance], classes: Sequence[str], label_map: Mapping[str, str]
) -> tuple[list[Utterance], dict[str, int]]:
    """Give utterances the classes of a system, and count by label those that `label_map` leaves out (maps to "")."""
    counts = Counter(u.label for u in utterances)
    for label, name in label_map.items():
        if name and name not in classes:
            found = f"--map sends {label!r} to {name!r}, which the system does not know"
            raise PredictionError(f"{found}.{did_you_mean(name, classes)} It knows {listed(classes)}")
        if label not in counts:
            found = f"--map names {label!r}, a label that no utterance has"
            raise PredictionError(f"{found}.{did_you_mean(label, counts)} The manifest has {listed(sorted(counts))}")
    if unknown := [label for label in sorted(counts) if label not in label_map and label not in classes]:
        shown = listed(f"{label!r} ({counts[label]})" for label in unknown)
        label = next((label for label in unknown if nearest(label, classes)), unknown[0])
        found = f"Labels that are not classes of the system ({listed(classes)}): {shown}.{did_you_mean(label, classes)}"
        options = f"--map {label}=CLASS to count it as a class, or --map {label}= to leave its utterances out"
        raise PredictionError(f"{found} Add {options}")
    mapped = [(u, label_map.get(u.label, u.label)) for u in utterances]
    if not (kept := [replace(u, label=label) for u, label in mapped if label]):
        raise PredictionError("--map leaves out every utterance of the manifest: there is nothing to test")
    return kept, {label: counts[label] for label, name in label_map.items() if not name}
