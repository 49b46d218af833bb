"""Accuracy against confidence."""

from collections.abc import Mapping, Sequence
from typing import Any

from toolkit.report.figures.style import MUTED, RULE, colour, dash, marker, new_figure, plain, stamp
from toolkit.statistics import BINS, ReliabilityCurve


def draw_reliability(curves: Mapping[str, ReliabilityCurve], stamps: Sequence[str] = ()) -> Any:
    """One panel a system: on the diagonal, systems are as often right as they say; below it, they are too sure.

    Args:
        curves: system -> its curve.
        stamps: drawn into the image.

    Returns:
        A matplotlib figure.
    """
    wide = 9.6 if len(curves) > 1 else 5.6
    figure = new_figure(width=wide, height=4.7)
    axes = figure.subplots(2, len(curves), sharex=True, squeeze=False, height_ratios=(4, 1))
    for place, (system, curve) in enumerate(curves.items()):
        upper, lower = axes[:, place]
        upper.plot([0, 100], [0, 100], color=MUTED, linestyle=(0, (2, 2)), linewidth=0.9)
        upper.plot(
            100 * curve.confidence,
            100 * curve.accuracy,
            color=colour(place),
            linestyle=dash(place),
            marker=marker(place),
            markersize=5,
            clip_on=False,
        )
        upper.set_title(plain(system))
        upper.set(xlim=(0, 100), ylim=(0, 100), ylabel="right (%)")
        upper.grid()
        share = 100 * curve.count / curve.count.sum()
        lower.bar(100 * curve.centre, share, width=92 / BINS, color=RULE, edgecolor=MUTED, linewidth=0.6)
        lower.set(xlabel="confidence (%)", ylabel="answers (%)")
    stamp(figure, stamps)
    return figure
