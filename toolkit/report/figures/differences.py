"""Differences to the baseline with their intervals."""

from collections.abc import Sequence
from typing import Any

from toolkit.report.evidence import SystemRuns, stamps_of
from toolkit.report.figures.figure import MUTED, PAPER, Figure, incomplete_sentence, new_figure, points
from toolkit.report.tables.differences import compared
from toolkit.statistics.comparison import Comparison
from toolkit.statistics.metrics import METRICS


def difference_figure(tested: Sequence[SystemRuns], *, name: str) -> Figure | None:
    """Differences to the first system; None where there is nothing to compare."""
    if not (found := [c for c in compared(tested) if c.difference is not None]):
        return None
    baseline = tested[0].system
    reading = (
        "Lines: 95 % intervals, paired by speaker, not corrected. Filled points: the verdict is better or worse, "
        "after the correction for their number; hollow points: no difference is shown."
        if any(c.interval for c in found)
        else "Too few speakers for intervals: no difference is shown."
    )
    return Figure(
        name,
        f"Difference to {baseline}",
        f"In percentage points. {reading}{incomplete_sentence(tested)}",
        f"Dot plot of the differences to {baseline} with intervals; the figures are in the table above.",
        lambda: draw_differences(found),
        stamps_of(tested),
    )


def draw_differences(comparisons: Sequence[Comparison]) -> Any:
    """One panel a metric, one row a system: the difference as a point, filled where it is shown, and its interval."""
    systems = list(dict.fromkeys(c.system for c in comparisons))
    figure = new_figure(height=0.3 * len(systems) + 1.1)
    panels = figure.subplots(1, len(METRICS), sharey=True, squeeze=False)[0]
    for index, (panel, metric) in enumerate(zip(panels, METRICS, strict=True)):
        panel.axvline(0, color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)))
        for comparison in (c for c in comparisons if c.metric == metric):
            row, found, look = systems.index(comparison.system), comparison.interval, points(index)
            if found is not None:
                panel.plot([100 * found.low, 100 * found.high], [row, row], color=look["color"], linewidth=1.8)
            if comparison.verdict not in ("better", "worse"):
                look = {**look, "markerfacecolor": PAPER}
            panel.plot(100 * comparison.difference, row, **look, markeredgewidth=1.5, markersize=6)
        panel.set_yticks(range(len(systems)), systems)
        panel.set(xlabel=f"{metric.upper()}, points", ylim=(len(systems) - 0.5, -0.5))
        panel.tick_params(axis="y", length=0)
        panel.spines["left"].set_visible(False)
        panel.grid(axis="x")
    return figure
