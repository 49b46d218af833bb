"""A report's figures: which data each is of, and what stands below it. Imports no torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.corpus.protocols import selects_on
from toolkit.report.choices import Choices
from toolkit.report.evidence import Evidence
from toolkit.report.figures.confusion import draw_confusions
from toolkit.report.figures.curves import draw_curves
from toolkit.report.figures.differences import draw_differences
from toolkit.report.figures.embedding import draw_embeddings, perplexity, project
from toolkit.report.figures.reliability import draw_reliability
from toolkit.report.tables.accuracy import compared
from toolkit.report.tables.calibration import curve

METRIC_NAMES = {"wa": "WA", "ua": "UA"}


@dataclass(frozen=True)
class Drawing:
    """A figure that can be drawn.

    Args:
        name: of its files, without ending.
        title: what it shows, in one line.
        caption: how to read it.
        label: what a reader who does not see it is told.
        draw: makes the matplotlib figure.
        stamps: what it says of itself, in the image.
    """

    name: str
    title: str
    caption: str
    label: str
    draw: Callable[[], Any]
    stamps: tuple[str, ...] = ()


def confusion_drawing(evidence: Evidence, choices: Choices) -> Drawing:
    """The pair's confusion matrices."""
    matrices = {s: evidence.confusions(s, choices.protocol).counts.sum(axis=0) for s in choices.pair}
    stamps = evidence.stamps(choices.pair, [choices.protocol])
    return Drawing(
        "confusion",
        f"Confusion of {_both(choices.pair)}",
        "Of each class (row), the percentage predicted as each class (column); all test utterances, mean over seeds."
        + _unfinished(evidence, choices.pair, choices.protocol),
        f"Row-normalised confusion matrices of {_both(choices.pair)}. " + _diagonals(matrices, evidence.labels),
        lambda: draw_confusions(matrices, evidence.labels, stamps),
        stamps,
    )


def embedding_drawing(evidence: Evidence, choices: Choices) -> Drawing | None:
    """The pair's fused embeddings; None where there is no fold of both."""
    if choices.embedded is None:
        return None
    fold, seed = choices.embedded
    runs = [
        run
        for system in choices.pair
        for run in evidence.outcome.of(system, choices.protocol)
        if (run.fold, run.seed) == choices.embedded
    ]
    stamps = tuple(dict.fromkeys(stamp for run in runs for stamp in run.results["stamps"]))
    arrays = {run.system: run.embeddings() for run in runs}
    reference = next(iter(arrays.values()))["reference"].astype(str)
    return Drawing(
        "tsne",
        f"Fused embeddings of {_both(choices.pair)}",
        f"t-SNE of the test utterances of fold {fold}, seed {seed} ({len(reference)} utterances), perplexity "
        f"{perplexity(len(reference)):g}. Each panel is a projection of its own: distances between groups, sizes and "
        "directions mean nothing.",
        f"Two-dimensional projections of the fused embeddings of {_both(choices.pair)}, coloured by class.",
        lambda: draw_embeddings(
            {system: project(values["fused"]) for system, values in arrays.items()}, reference, evidence.labels, stamps
        ),
        stamps,
    )


def curve_drawing(evidence: Evidence, choices: Choices, metric: str) -> Drawing | None:
    """Accuracy against epoch for the chosen test folds; None where none of them has runs."""
    protocol, systems = choices.protocol, evidence.tested(choices.protocol)
    of_speakers = protocol.startswith("loso")
    panels = {}
    for fold in choices.curves:
        curves = {system: _mean_curve(evidence, system, protocol, fold, metric) for system in systems}
        found = {system: values for system, values in curves.items() if values is not None}
        if found:
            panels[f"test {'speaker' if of_speakers else 'fold'} {fold}"] = found
    if not panels:
        return None
    stamps = evidence.stamps(systems, [protocol])
    chose = (
        "These curves chose the epoch that was tested."
        if selects_on(protocol) == "test" or protocol == "loso-as-published"
        else "These curves chose nothing: the epoch was chosen on the validation part."
    )
    seeds = " The mean over seeds, as far as each of them trained." if len(evidence.outcome.seeds) > 1 else ""
    name = METRIC_NAMES[metric]
    return Drawing(
        f"curves_{metric}",
        f"{name} against epoch",
        f"{name} of the test part after each epoch. {chose}{seeds}",
        f"Line charts of test {name} against epoch, one panel for each of {', '.join(panels)}; "
        f"lines: {', '.join(systems)}.",
        lambda: draw_curves(panels, metric=metric, systems=systems, stamps=stamps),
        stamps,
    )


def reliability_drawing(evidence: Evidence, choices: Choices) -> Drawing:
    """The pair's reliability."""
    stamps = evidence.stamps(choices.pair, [choices.protocol])
    curves = {system: curve(evidence, system, choices.protocol) for system in choices.pair}
    return Drawing(
        "reliability",
        f"Reliability of {_both(choices.pair)}",
        "Above: how often answers of a confidence are right; on the dashed line as often as they say, below it less. "
        "Under it: how many answers have that confidence." + _unfinished(evidence, choices.pair, choices.protocol),
        f"Reliability curves of {_both(choices.pair)}, accuracy against confidence.",
        lambda: draw_reliability(curves, stamps),
        stamps,
    )


def difference_drawing(evidence: Evidence, systems: Sequence[str], protocol: str, *, name: str) -> Drawing | None:
    """Differences to the first system; None where there is nothing to compare."""
    found = [c for c in compared(evidence, systems, protocol) if c.difference is not None]
    if not found:
        return None
    stamps = evidence.stamps(systems, [protocol])
    intervals = any(c.interval for c in found)
    return Drawing(
        f"{name}_differences",
        f"Difference to {systems[0]}",
        "Points of percent. "
        + (
            "Lines: 95 % intervals, paired by speaker, each for itself. Filled points: the verdict is better or "
            "worse, after the correction for their number; hollow points: no difference is shown."
            if intervals
            else "Too few speakers for intervals: nothing is shown to differ."
        )
        + _unfinished(evidence, systems, protocol),
        f"Dot plot of the differences to {systems[0]} with intervals; the figures are in the table above.",
        lambda: draw_differences(found, stamps),
        stamps,
    )


def _both(pair: Sequence[str]) -> str:
    return " and ".join(pair)


def _unfinished(evidence: Evidence, systems: Sequence[str], protocol: str) -> str:
    missing = [system for system in systems if not evidence.complete(system, protocol)]
    return f" Not all cells are done of {_both(missing)}." if missing else ""


def _diagonals(matrices: dict[str, np.ndarray], labels: Sequence[str]) -> str:
    """Each system's recalls in words."""
    texts = []
    for system, matrix in matrices.items():
        totals = matrix.sum(axis=1)
        recalls = [
            f"{label} {100 * hits / total:.0f} %"
            for label, hits, total in zip(labels, matrix.diagonal(), totals, strict=True)
            if total
        ]
        texts.append(f"{system}: {', '.join(recalls)} right.")
    return " ".join(texts)


def _mean_curve(evidence: Evidence, system: str, protocol: str, fold: str, metric: str) -> np.ndarray | None:
    """Test accuracy after each epoch, the mean over seeds up to the shortest training; None without a run."""
    curves = [
        [row[f"test_{metric}"] for row in run.epochs()]
        for run in evidence.outcome.of(system, protocol)
        if run.fold == fold
    ]
    length = min(map(len, curves), default=0)
    return np.mean([values[:length] for values in curves], axis=0) if length else None
