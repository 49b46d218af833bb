"""Accuracy against confidence."""

from collections.abc import Mapping, Sequence
from typing import Any

from toolkit.report.evidence import SystemRuns, stamps_of
from toolkit.report.figures.figure import MUTED, RULE, Figure, incomplete_sentence, names_of, new_figure, series
from toolkit.statistics.calibration import BINS, ReliabilityCurve, reliability_curve


def reliability_figure(pair: Sequence[SystemRuns]) -> Figure:
    """The pair's accuracy against confidence, over all test utterances and seeds."""
    curves = {
        tested.system: reliability_curve(tested.probabilities, tested.reference, labels=tested.labels)
        for tested in pair
    }
    return Figure(
        "reliability",
        f"Reliability of {names_of(pair)}",
        "Above: how often answers with a confidence are correct; on the dashed line confidence and accuracy agree, "
        "below it the system is overconfident. Below: the percentage of answers with that confidence."
        + incomplete_sentence(pair),
        f"Reliability curves of {names_of(pair)}, accuracy against confidence.",
        lambda: draw_reliability(curves),
        stamps_of(pair),
    )


def draw_reliability(curves: Mapping[str, ReliabilityCurve]) -> Any:
    """One panel a system: on the diagonal, confidence and accuracy agree; below it, the system is overconfident."""
    figure = new_figure(panels=len(curves), height=4.7)
    axes = figure.subplots(2, len(curves), sharex=True, squeeze=False, height_ratios=(4, 1))
    for index, (system, curve) in enumerate(curves.items()):
        upper, lower = axes[:, index]
        upper.plot([0, 100], [0, 100], color=MUTED, linestyle=(0, (2, 2)), linewidth=0.9)
        upper.plot(100 * curve.confidence, 100 * curve.accuracy, **series(index), markersize=5, clip_on=False)
        upper.set_title(system)
        upper.set(xlim=(0, 100), ylim=(0, 100), ylabel="correct (%)")
        upper.grid()
        percentage = 100 * curve.count / curve.count.sum()
        lower.bar(100 * curve.centre, percentage, width=92 / BINS, color=RULE, edgecolor=MUTED, linewidth=0.6)
        lower.set(xlabel="confidence (%)", ylabel="answers (%)")
    return figure
