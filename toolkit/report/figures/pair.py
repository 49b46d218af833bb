"""Figures of two systems side by side: confusion, embeddings, reliability."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.report.evidence import SystemRuns, stamps_of
from toolkit.report.figures.figure import (
    HEAT,
    INK,
    MUTED,
    ON_HEAT,
    PAPER,
    RULE,
    Figure,
    incomplete_sentence,
    line_style,
    names_of,
    new_figure,
    point_style,
)
from toolkit.statistics.calibration import BINS, ReliabilityCurve, reliability_curve

BRIGHT_ABOVE = 0.75  # share of the row above which a cell is so dark that its text is light
PERPLEXITY = 30.0


def confusion_figure(pair: Sequence[SystemRuns]) -> Figure:
    """The pair's confusion matrices."""
    labels = pair[0].labels
    matrices = {tested.name: np.sum([*tested.confusions.values()], axis=0) for tested in pair}
    return Figure(
        "confusion",
        f"Confusion of {names_of(pair)}",
        "For each class (row), the percentage predicted as each class (column); all test utterances, mean over seeds."
        + incomplete_sentence(pair),
        f"Row-normalised confusion matrices of {names_of(pair)}. " + _recalls(matrices, labels),
        lambda: draw_confusions(matrices, labels),
        stamps_of(pair),
    )


def draw_confusions(matrices: Mapping[str, np.ndarray], labels: Sequence[str]) -> Any:
    """One panel per system -> counts [classes, classes], rows are the reference; cells show percent of their row."""
    size = len(labels)
    wide = 4.8 if len(matrices) > 1 else 2.8  # half the figure's width, in inches
    figure, (panels,) = new_figure(columns=len(matrices), height=wide * (0.78 + 0.02 * min(size, 8)) + 0.2)
    long = max(map(len, labels)) * size > 34
    turned = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if long else {}
    for panel, (system, matrix) in zip(panels, matrices.items(), strict=True):
        _draw_cells(panel, np.asarray(matrix, dtype=float), size)
        panel.set_title(system, pad=8)
        panel.set_xticks(range(size), labels, **turned)
        panel.set_yticks(range(size), labels)
        panel.tick_params(length=0)
        panel.set(xlabel="predicted")
        panel.spines[:].set_visible(False)
    panels[0].set(ylabel="reference")
    return figure


def _recalls(matrices: Mapping[str, np.ndarray], labels: Sequence[str]) -> str:
    texts = []
    for system, matrix in matrices.items():
        found = zip(labels, matrix.diagonal(), matrix.sum(axis=1), strict=True)
        recalls = [f"{label} {100 * hits / total:.0f} %" for label, hits, total in found if total]
        texts.append(f"{system}: {', '.join(recalls)} correct.")
    return " ".join(texts)


def _draw_cells(panel: Any, matrix: np.ndarray, size: int) -> None:
    from matplotlib.patches import Rectangle

    totals = matrix.sum(axis=1, keepdims=True)
    fractions = np.divide(matrix, totals, out=np.zeros_like(matrix), where=totals > 0)
    for (row, column), fraction in np.ndenumerate(fractions):
        corner, fill = (column - 0.5, row - 0.5), (HEAT, round(float(fraction), 4))
        panel.add_patch(Rectangle(corner, 1, 1, facecolor=fill, edgecolor=PAPER, linewidth=1.5))
        text = f"{100 * fraction:.1f}" if totals[row, 0] else "\N{EN DASH}"
        shade = ON_HEAT if fraction > BRIGHT_ABOVE else INK
        panel.text(column, row, text, ha="center", va="center", color=shade, fontsize=9 if size <= 5 else 7.5)
    panel.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), aspect="equal")


def embedding_figure(pair: Sequence[SystemRuns], cell: tuple[str, int] | None) -> Figure | None:
    """The pair's fused embeddings of one fold and seed by t-SNE; None if the pair has none in common."""
    if cell is None:
        return None
    fold, seed = cell
    runs = [run for tested in pair for run in tested.runs if (run.cell.fold, run.cell.seed) == cell]
    embeddings = {run.cell.system: run.embeddings() for run in runs}
    reference = runs[0].answers.reference
    return Figure(
        "tsne",
        f"Fused embeddings of {names_of(pair)}",
        f"t-SNE of the test utterances of fold {fold}, seed {seed} ({len(reference)} utterances), perplexity "
        f"{perplexity(len(reference)):.3g}. Each panel is projected by itself: distances between groups, sizes and "
        "directions mean nothing.",
        f"Two-dimensional projections of the fused embeddings of {names_of(pair)}, coloured by class.",
        lambda: draw_embeddings(embeddings, reference, pair[0].labels),
        stamps_of(pair),
    )


def perplexity(utterances: int) -> float:
    """About how many neighbours a point has in t-SNE; less than a third of the points.

    >>> perplexity(500), perplexity(46)
    (30.0, 15.0)
    """
    return min(PERPLEXITY, max(1.0, (utterances - 1) / 3))


def project(embeddings: np.ndarray) -> np.ndarray:
    """t-SNE (van der Maaten and Hinton, JMLR 9, 2008), deterministic: [utterances, size] -> [utterances, 2]."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if len(embeddings) < 4 or min(embeddings.shape) < 2 or not np.ptp(embeddings, axis=0).any():
        return np.pad(embeddings, ((0, 0), (0, 2)))[:, :2]  # too little to project
    with threadpool_limits(1):  # sums of several threads differ in their last bits
        tsne = TSNE(init="pca", learning_rate="auto", perplexity=perplexity(len(embeddings)), random_state=0)
        return tsne.fit_transform(embeddings)


def draw_embeddings(embeddings: Mapping[str, np.ndarray], reference: np.ndarray, labels: Sequence[str]) -> Any:
    """One panel per system -> [utterances, size], one colour and marker per class."""
    figure, (panels,) = new_figure(columns=len(embeddings), height=4.9)
    for panel, (system, values) in zip(panels, embeddings.items(), strict=True):
        projected = project(values)
        for index, label in enumerate(labels):
            chosen = projected[reference == label]
            panel.scatter(*chosen.T, s=20, **point_style(index), label=label, edgecolors=INK, linewidths=0.3)
        panel.set_title(system)
        panel.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
        panel.spines[:].set_visible(True)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=min(len(names), 8), handletextpad=0.2)
    return figure


def reliability_figure(pair: Sequence[SystemRuns]) -> Figure:
    """The pair's accuracy against confidence, over all test utterances and seeds."""
    curves = {}
    for tested in pair:
        found = {"as computed": tested.answers.probabilities, "at temperature": tested.calibrated}
        curves[tested.name] = {
            name: reliability_curve(probabilities, tested.answers.reference, labels=tested.labels)
            for name, probabilities in found.items()
            if probabilities is not None
        }
    return Figure(
        "reliability",
        f"Reliability of {names_of(pair)}",
        "Above: how often answers of a confidence are correct; on the dashed line confidence and accuracy agree, "
        "below it the system is overconfident. Below: the percentage of answers of that confidence, before the "
        "temperature, which is fitted on each run's validation part." + incomplete_sentence(pair),
        f"Reliability curves of {names_of(pair)}, accuracy against confidence.",
        lambda: draw_reliability(curves),
        stamps_of(pair),
    )


def draw_reliability(curves: Mapping[str, Mapping[str, ReliabilityCurve]]) -> Any:
    """One panel per system: on the diagonal, confidence and accuracy agree; below it, the system is overconfident."""
    figure, axes = new_figure(rows=2, columns=len(curves), height=4.7, sharex=True, height_ratios=(4, 1))
    for (upper, lower), (system, found) in zip(axes.T, curves.items(), strict=True):
        upper.plot([0, 100], [0, 100], color=MUTED, linestyle=(0, (2, 2)), linewidth=0.9)
        for index, (name, curve) in enumerate(found.items()):
            look = {**line_style(index), "markersize": 5, "clip_on": False, "label": name}
            upper.plot(100 * curve.confidence, 100 * curve.accuracy, **look)
        if len(found) > 1:
            upper.legend(loc="lower right")
        upper.set_title(system)
        upper.set(xlim=(0, 100), ylim=(0, 100), ylabel="correct (%)")
        upper.grid()
        curve = next(iter(found.values()))
        percentage = 100 * curve.count / curve.count.sum()
        lower.bar(100 * curve.centre, percentage, width=92 / BINS, color=RULE, edgecolor=MUTED, linewidth=0.6)
        lower.set(xlabel="confidence (%)", ylabel="answers (%)")
    return figure
