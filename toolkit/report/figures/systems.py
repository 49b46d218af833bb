"""Figures of all systems: accuracy against epoch, differences from the baseline with their intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.corpus.protocols import chooses_on_test
from toolkit.report.evidence import Evidence, SystemRuns
from toolkit.report.figures.figure import MUTED, Figure, line_style, new_figure, point_style
from toolkit.report.tables.differences import compared
from toolkit.statistics.comparison import Comparison
from toolkit.statistics.metrics import METRICS


def curve_figure(evidence: Evidence, protocol: str, folds: Sequence[str], metric: str) -> Figure | None:
    """Accuracy against epoch for some test folds; None where none of them has runs of several epochs."""
    tested = evidence.tested(protocol)
    panels = {}
    for fold in folds:
        curves = {system.name: _mean_curve(system, fold, metric) for system in tested}
        if found := {system: values for system, values in curves.items() if values}:
            panels[f"fold {fold}"] = found
    if not panels:
        return None
    systems, title = [system.name for system in tested], metric.upper()
    chose = (
        "The tested epoch was chosen by these curves."
        if chooses_on_test(protocol)
        else "Nothing was chosen by these curves: the epoch was chosen on the validation part."
    )
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
