"""Differences to the baseline with their intervals."""

from collections.abc import Sequence
from typing import Any

from toolkit.report.figures.style import MUTED, PAPER, colour, marker, new_figure, plain, stamp
from toolkit.statistics import METRICS, Comparison

NAMES = {"wa": "WA, points", "ua": "UA, points"}


def draw_differences(comparisons: Sequence[Comparison], stamps: Sequence[str] = ()) -> Any:
    """One panel a metric, one row a system; a line is the 95 % interval, its point the difference.

    Points are filled only where the verdict is that there is a difference.

    Args:
        comparisons: all with one baseline, and with a difference.
        stamps: drawn into the image.

    Returns:
        A matplotlib figure.
    """
    systems = list(dict.fromkeys(c.system for c in comparisons))
    figure = new_figure(height=0.3 * len(systems) + 1.1)
    panels = figure.subplots(1, len(METRICS), sharey=True, squeeze=False)[0]
    for place, (panel, metric) in enumerate(zip(panels, METRICS, strict=True)):
        panel.axvline(0, color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)))
        for comparison in (c for c in comparisons if c.metric == metric):
            row, found = systems.index(comparison.system), comparison.interval
            if found is not None:
                panel.plot([100 * found.low, 100 * found.high], [row, row], color=colour(place), linewidth=1.8)
            shown = comparison.verdict in ("better", "worse")
            panel.plot(
                100 * comparison.difference,
                row,
                marker=marker(place),
                color=colour(place),
                markerfacecolor=colour(place) if shown else PAPER,
                markeredgewidth=1.5,
                markersize=6,
            )
        panel.set_yticks(range(len(systems)), [plain(system) for system in systems])
        panel.set(xlabel=NAMES[metric], ylim=(len(systems) - 0.5, -0.5))
        panel.tick_params(axis="y", length=0)
        panel.spines["left"].set_visible(False)
        panel.grid(axis="x")
    stamp(figure, stamps)
    return figure
