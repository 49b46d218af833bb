"""Figures of an experiment's results: of all systems, and of two side by side."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from toolkit.corpus.protocols import chooses_on_test
from toolkit.report.evidence import Evidence, SystemRuns
from toolkit.report.figures.figure import HEAT, INK, MUTED, RULE, Figure, line_style, new_figure, point_style
from toolkit.report.tables.differences import compared
from toolkit.statistics.comparison import Comparison
from toolkit.statistics.confidence import BINS, ReliabilityCurve, reliability_curve
from toolkit.statistics.metrics import METRICS


def curve_figure(evidence: Evidence, protocol: str, folds: Sequence[str], metric: str) -> Figure | None:
    """Accuracy against epoch for some test folds; None where none of them has runs of several epochs."""
    tested = evidence.tested(protocol)
    by_fold = {fold: {t.name: curve for t in tested if (curve := _mean_curve(t, fold, metric))} for fold in folds}
    panels = {f"fold {fold}": curves for fold, curves in by_fold.items() if curves}
    if not panels:
        return None
    systems, title = [system.name for system in tested], metric.upper()
    chose = "Nothing was chosen by these curves: the epoch was chosen on the validation part."
    if chooses_on_test(protocol):
        chose = "The tested epoch was chosen by these curves."
    seeds = " The mean over seeds, up to the shortest training." if len(evidence.plan.seeds) > 1 else ""
    return Figure(
        f"curves_{metric}",
        f"{title} against epoch",
        f"{title} of the test part after each epoch. {chose}{seeds}",
        lambda: draw_curves(panels, metric=metric, systems=systems),
        tested,
    )


def draw_curves(panels: Mapping[str, Mapping[str, Mapping[int, float]]], *, metric: str, systems: Sequence[str]) -> Any:
    """One panel per title -> system -> epoch -> accuracy after it, in fractions of 1; all on one scale."""
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure, axes = new_figure(rows=rows, columns=columns, height=2.9 * rows + 0.6, sharey=True)
    handles: dict[str, Any] = {}
    for axis, (title, curves) in zip(axes.flat, panels.items(), strict=False):
        for system, curve in curves.items():
            index, accuracies = list(systems).index(system), 100 * np.array(list(curve.values()))
            step = max(1, len(curve) // 12)  # epochs between two markers
            look = {**line_style(index), "markevery": (index % step, step)}
            (handles[system],) = axis.plot(list(curve), accuracies, label=system, **look)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(axis="y")
        axis.set(title=title, ylabel=f"{metric.upper()} (%)")
        axis.label_outer()
        axis.set_xlabel("epoch")
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    shown = [handles[system] for system in systems if system in handles]
    figure.legend(handles=shown, loc="outside upper center", ncols=min(len(shown), 5))
    return figure


def _mean_curve(tested: SystemRuns, fold: str, metric: str) -> dict[int, float]:
    """The mean over seeds after each epoch that all seeds have: epoch -> accuracy; empty for a single epoch."""
    curves = [run.curve(metric) for run in tested.runs if run.cell.fold == fold]
    epochs = [epoch for epoch in (curves[0] if curves else ()) if all(epoch in curve for curve in curves)]
    return {epoch: float(np.mean([c[epoch] for c in curves])) for epoch in epochs} if len(epochs) > 1 else {}


def difference_figure(tested: Sequence[SystemRuns], *, name: str) -> Figure | None:
    """Differences from the first system; None where there is nothing to compare."""
    if not (found := [c for c in compared(tested) if c.difference is not None]):
        return None
    return Figure(
        name,
        f"Difference from {tested[0].name}",
        "In percentage points. Lines: 95 % intervals, paired by speaker, not corrected; none with too few speakers. "
        "Filled points: the verdict is better or worse, after the correction for the number of tests; hollow points: "
        "no difference is shown.",
        lambda: draw_differences(found),
        tested,
    )


def draw_differences(comparisons: Sequence[Comparison]) -> Any:
    """One panel per metric, one row per system: the interval, and the difference as a point, filled if it is shown."""
    systems = list(dict.fromkeys(c.system for c in comparisons))
    figure, (panels,) = new_figure(columns=len(METRICS), height=0.3 * len(systems) + 1.1, sharey=True)
    for index, (panel, metric) in enumerate(zip(panels, METRICS, strict=True)):
        panel.axvline(0, color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)))
        for comparison in (c for c in comparisons if c.metric == metric):
            row, found, look = systems.index(comparison.system), comparison.interval, point_style(index)
            if found is not None:
                panel.plot([100 * found.low, 100 * found.high], [row, row], color=look["color"], linewidth=1.8)
            if comparison.verdict not in ("better", "worse"):
                look = {**look, "markerfacecolor": "white"}
            panel.plot(100 * comparison.difference, row, **look, markeredgewidth=1.5, markersize=6)
        panel.set_yticks(range(len(systems)), systems)
        panel.set(xlabel=f"{metric.upper()}, points", ylim=(len(systems) - 0.5, -0.5))
        panel.tick_params(axis="y", length=0)
        panel.spines["left"].set_visible(False)
        panel.grid(axis="x")
    return figure


def confusion_figure(pair: Sequence[SystemRuns]) -> Figure:
    """The pair's confusion matrices."""
    matrices = {tested.name: np.sum([*tested.confusions.values()], axis=0) for tested in pair}
    return Figure(
        "confusion",
        "Confusion",
        "For each class (row), the percentage predicted as each class (column); all test utterances, mean over seeds.",
        lambda: draw_confusions(matrices, pair[0].labels),
        pair,
    )


def draw_confusions(matrices: Mapping[str, np.ndarray], labels: Sequence[str]) -> Any:
    """One panel per system -> counts [classes, classes], rows are the reference; cells show percent of their row."""
    from matplotlib.colors import LinearSegmentedColormap
    from sklearn.metrics import ConfusionMatrixDisplay

    wide = 4.8 if len(matrices) > 1 else 2.8  # half the figure's width, in inches
    figure, (panels,) = new_figure(columns=len(matrices), height=wide * (0.78 + 0.02 * min(len(labels), 8)) + 0.2)
    shades = LinearSegmentedColormap.from_list("shades", ["white", HEAT])
    turned = 40 if max(map(len, labels)) * len(labels) > 34 else 0
    for panel, (system, matrix) in zip(panels, matrices.items(), strict=True):
        totals = np.sum(matrix, axis=1)
        shown = ConfusionMatrixDisplay(100 * matrix / np.maximum(totals, 1e-9)[:, None], display_labels=labels)
        look = {"values_format": ".1f", "cmap": shades, "im_kw": {"vmin": 0, "vmax": 100}, "colorbar": False}
        shown.plot(ax=panel, text_kw={"fontsize": 9 if len(labels) <= 5 else 7.5}, xticks_rotation=turned, **look)
        for text in shown.text_[totals == 0].flat:  # of a class without utterances
            text.set_text("\N{EN DASH}")
        panel.set_title(system, pad=8)
        panel.tick_params(length=0)
        panel.set(xlabel="predicted", ylabel="reference" if panel is panels[0] else "")
    return figure


def embedding_figure(pair: Sequence[SystemRuns], folds: Sequence[str], seeds: Sequence[int]) -> Figure | None:
    """The pair's fused embeddings by t-SNE, of the first fold and seed that all have; None if there is none."""
    runs = [{(run.cell.fold, run.cell.seed): run for run in tested.runs} for tested in pair]
    common = [cell for cell in product(folds, seeds) if all(cell in of_system for of_system in runs)]
    if not common:
        return None
    fold, seed = common[0]
    embeddings = {tested.name: of_system[fold, seed].embeddings() for tested, of_system in zip(pair, runs, strict=True)}
    reference = runs[0][fold, seed].answers.reference
    return Figure(
        "tsne",
        "Fused embeddings",
        f"t-SNE of the test utterances of fold {fold}, seed {seed} ({len(reference)} utterances). Each panel is "
        "projected by itself: distances between groups, sizes and directions mean nothing.",
        lambda: draw_embeddings(embeddings, reference, pair[0].labels),
        pair,
    )


def project(embeddings: np.ndarray) -> np.ndarray:
    """t-SNE (van der Maaten and Hinton, JMLR 9, 2008), deterministic: [utterances, size] -> [utterances, 2]."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if len(embeddings) < 4 or min(embeddings.shape) < 2 or not np.ptp(embeddings, axis=0).any():
        return np.pad(embeddings, ((0, 0), (0, 2)))[:, :2]  # too little to project
    perplexity = min(30.0, (len(embeddings) - 1) / 3)  # about how many neighbours a point has
    with threadpool_limits(1):  # sums of several threads differ in their last bits
        return TSNE(init="pca", learning_rate="auto", perplexity=perplexity, random_state=0).fit_transform(embeddings)


def draw_embeddings(embeddings: Mapping[str, np.ndarray], reference: np.ndarray, labels: Sequence[str]) -> Any:
    """One panel per system -> [utterances, size], one colour and marker per class."""
    figure, (panels,) = new_figure(columns=len(embeddings), height=4.9)
    for panel, (system, values) in zip(panels, embeddings.items(), strict=True):
        projected = project(values)
        for index, label in enumerate(labels):
            chosen = projected[reference == label]
            panel.scatter(*chosen.T, s=20, **point_style(index), label=label, edgecolors=INK, linewidths=0.3)
        panel.set(title=system, xticks=[], yticks=[], aspect="equal", adjustable="datalim")
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
        "Reliability",
        "Above: how often answers of a confidence are correct; on the dashed line confidence and accuracy agree, "
        "below it the system is overconfident. Below: the percentage of answers of that confidence, before the "
        "temperature, which is fitted on each run's validation part.",
        lambda: draw_reliability(curves),
        pair,
    )


def draw_reliability(curves: Mapping[str, Mapping[str, ReliabilityCurve]]) -> Any:
    """One panel per system: on the diagonal, confidence and accuracy agree; below it, the system is overconfident."""
    figure, axes = new_figure(rows=2, columns=len(curves), height=4.7, sharex=True, height_ratios=(4, 1))
    for (upper, lower), (system, found) in zip(axes.T, curves.items(), strict=True):
        upper.plot([0, 100], [0, 100], color=MUTED, linestyle=(0, (2, 2)), linewidth=0.9)
        for index, (name, curve) in enumerate(found.items()):
            look = {**line_style(index), "markersize": 5, "clip_on": False, "label": name}
            upper.plot(100 * curve.confidence, 100 * curve.accuracy, **look)
        upper.legend(loc="lower right")
        upper.set(title=system, xlim=(0, 100), ylim=(0, 100), ylabel="correct (%)")
        upper.grid()
        curve = next(iter(found.values()))
        percentage = 100 * curve.count / curve.count.sum()
        lower.bar(100 * curve.centre, percentage, width=92 / BINS, color=RULE, edgecolor=MUTED, linewidth=0.6)
        lower.set(xlabel="confidence (%)", ylabel="answers (%)")
    return figure
