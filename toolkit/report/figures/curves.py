"""Accuracy against epoch, one panel a test speaker, all systems in each."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.report.figures.style import colour, dash, marker, new_figure, plain, stamp

NAMES = {"wa": "WA (%)", "ua": "UA (%)"}
Curve = Sequence[float] | np.ndarray


def draw_curves(
    panels: Mapping[str, Mapping[str, Curve]], *, metric: str, systems: Sequence[str], stamps: Sequence[str] = ()
) -> Any:
    """Draw them on one scale.

    Args:
        panels: title -> system -> accuracy after each epoch, from epoch 1, in fractions of 1.
        metric: "wa" or "ua".
        systems: all of them, in an order that gives each its colour, dash and marker.
        stamps: drawn into the image.

    Returns:
        A matplotlib figure.
    """
    count = len(panels)
    columns = min(count, 3)
    rows = -(-count // columns)
    figure = new_figure(width=9.6 if columns > 1 else 6.4, height=2.9 * rows + 0.6)
    axes = figure.subplots(rows, columns, sharey=True, squeeze=False).flat
    handles: dict[str, Any] = {}
    for axis, (title, curves) in zip(axes, panels.items(), strict=False):
        for system, curve in curves.items():
            place = list(systems).index(system)
            epochs = np.arange(1, len(curve) + 1)
            (line,) = axis.plot(
                epochs,
                100 * np.asarray(curve),
                color=colour(place),
                linestyle=dash(place),
                marker=marker(place),
                markevery=(place % max(1, len(curve) // 12), max(1, len(curve) // 12)),
                label=plain(system),
            )
            handles.setdefault(system, line)
        axis.set_title(plain(title))
        axis.set_xlabel("epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(axis="y")
        axis.label_outer(remove_inner_ticks=False)
        axis.set_xlabel("epoch")
    for axis in list(figure.axes)[count:]:
        axis.set_visible(False)
    for axis in figure.axes[::columns]:
        axis.set_ylabel(NAMES[metric])
    shown = [handles[system] for system in systems if system in handles]
    figure.legend(shown, [line.get_label() for line in shown], loc="outside upper center", ncols=min(len(shown), 5))
    stamp(figure, stamps)
    return figure
