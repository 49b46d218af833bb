"""Accuracy against epoch, one panel a test speaker, all systems in each."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.corpus.protocols import selects_on
from toolkit.report.evidence import Evidence, SystemRuns, stamps_of
from toolkit.report.figures.figure import Figure, new_figure, series

Curve = Sequence[float] | np.ndarray


def curve_figure(evidence: Evidence, protocol: str, folds: Sequence[str], metric: str) -> Figure | None:
    """Accuracy against epoch for some test folds; None where none of them has runs."""
    tested = evidence.tested(protocol)
    noun = "speaker" if protocol.startswith("loso") else "fold"
    panels = {}
    for fold in folds:
        curves = {system.system: _mean_curve(system, fold, metric) for system in tested}
        if found := {system: values for system, values in curves.items() if values is not None}:
            panels[f"test {noun} {fold}"] = found
    if not panels:
        return None
    systems, title = [system.system for system in tested], metric.upper()
    chose = (
        "The tested epoch was chosen by these curves."
        if selects_on(protocol) == "test" or protocol == "loso-as-published"
        else "Nothing was chosen by these curves: the epoch was chosen on the validation part."
    )
    seeds = " The mean over seeds, up to the shortest training." if len(evidence.plan.seeds) > 1 else ""
    return Figure(
        f"curves_{metric}",
        f"{title} against epoch",
        f"{title} of the test part after each epoch. {chose}{seeds}",
        f"Line charts of test {title} against epoch, one panel for each of {', '.join(panels)}; "
        f"lines: {', '.join(systems)}.",
        lambda: draw_curves(panels, metric=metric, systems=systems),
        stamps_of(tested),
    )


def draw_curves(panels: Mapping[str, Mapping[str, Curve]], *, metric: str, systems: Sequence[str]) -> Any:
    """One panel for each title -> system -> accuracy after each epoch, in fractions of 1; all on one scale."""
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = new_figure(panels=columns, height=2.9 * rows + 0.6)
    axes = figure.subplots(rows, columns, sharey=True, squeeze=False).flat
    handles: dict[str, Any] = {}
    for axis, (title, curves) in zip(axes, panels.items(), strict=False):
        for system, curve in curves.items():
            index, epochs = list(systems).index(system), np.arange(1, len(curve) + 1)
            step = max(1, len(curve) // 12)  # epochs from marker to marker
            look = {**series(index), "markevery": (index % step, step)}
            (handles[system],) = axis.plot(epochs, 100 * np.asarray(curve), label=system, **look)
        axis.set_title(title)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(axis="y")
        axis.label_outer(remove_inner_ticks=False)
        axis.set_xlabel("epoch")
    for axis in figure.axes[len(panels) :]:
        axis.set_visible(False)
    for axis in figure.axes[::columns]:
        axis.set_ylabel(f"{metric.upper()} (%)")
    shown = [handles[system] for system in systems if system in handles]
    figure.legend(handles=shown, loc="outside upper center", ncols=min(len(shown), 5))
    return figure


def _mean_curve(tested: SystemRuns, fold: str, metric: str) -> np.ndarray | None:
    curves = [[row[f"test_{metric}"] for row in run.epochs()] for run in tested.runs if run.cell.fold == fold]
    length = min(map(len, curves), default=0)
    return np.mean([values[:length] for values in curves], axis=0) if length else None
