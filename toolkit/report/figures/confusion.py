"""Confusion matrices, normalised by row, side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.report.evidence import SystemRuns, stamps_of
from toolkit.report.figures.figure import HEAT, INK, ON_HEAT, PAPER, Figure, incomplete_sentence, names_of, new_figure

BRIGHT_ABOVE = 0.75  # of a row: the cell is so dark that its figure is written in the colour of paper


def confusion_figure(pair: Sequence[SystemRuns]) -> Figure:
    """The pair's confusion matrices."""
    labels = pair[0].labels
    matrices = {tested.system: tested.confusions.counts.sum(axis=0) for tested in pair}
    return Figure(
        "confusion",
        f"Confusion of {names_of(pair)}",
        "Of each class (row), the percentage predicted as each class (column); all test utterances, mean over seeds."
        + incomplete_sentence(pair),
        f"Row-normalised confusion matrices of {names_of(pair)}. " + _recalls(matrices, labels),
        lambda: draw_confusions(matrices, labels),
        stamps_of(pair),
    )


def draw_confusions(matrices: Mapping[str, np.ndarray], labels: Sequence[str]) -> Any:
    """One panel for each system -> [classes, classes] counts, rows the reference; cells are percent of their row."""
    size = len(labels)
    wide = 4.8 if len(matrices) > 1 else 2.8  # half the figure's width, in inches
    figure = new_figure(panels=len(matrices), height=wide * (0.78 + 0.02 * min(size, 8)) + 0.2)
    panels = figure.subplots(1, len(matrices), squeeze=False)[0]
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
    for row in range(size):
        for column in range(size):
            fraction = fractions[row, column]
            corner, fill = (column - 0.5, row - 0.5), (HEAT, round(float(fraction), 4))
            panel.add_patch(Rectangle(corner, 1, 1, facecolor=fill, edgecolor=PAPER, linewidth=1.5))
            text = f"{100 * fraction:.1f}" if totals[row, 0] else "\N{EN DASH}"
            shade = ON_HEAT if fraction > BRIGHT_ABOVE else INK
            panel.text(column, row, text, ha="center", va="center", color=shade, fontsize=9 if size <= 5 else 7.5)
    panel.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), aspect="equal")
