"""Embeddings in two dimensions, by t-SNE (van der Maaten and Hinton, JMLR 9, 2008)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.report.figures.style import INK, marker, new_figure, plain, point_colour, stamp

PERPLEXITY = 30.0
SEED = 0


def perplexity(utterances: int) -> float:
    """How many neighbours a point has; less than a third of the points.

    >>> perplexity(500), perplexity(46)
    (30.0, 15.0)
    """
    return min(PERPLEXITY, max(1.0, (utterances - 1) / 3))


def project(embeddings: np.ndarray) -> np.ndarray:
    """Two dimensions that keep neighbours; the same every time.

    Args:
        embeddings: [utterances, size].

    Returns:
        [utterances, 2].
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    points = np.asarray(embeddings, dtype=np.float64)
    if len(points) < 4 or min(points.shape) < 2 or not np.ptp(points, axis=0).any():
        return np.pad(points, ((0, 0), (0, 2)))[:, :2]  # too little to project
    with threadpool_limits(1):  # sums of several threads differ in their last bits
        tsne = TSNE(init="pca", learning_rate="auto", perplexity=perplexity(len(points)), random_state=SEED)
        return tsne.fit_transform(points)


def draw_embeddings(
    points: Mapping[str, np.ndarray], reference: Sequence[str], labels: Sequence[str], stamps: Sequence[str] = ()
) -> Any:
    """One panel a system, one colour and marker a class.

    Args:
        points: system -> [utterances, 2].
        reference: true class of each utterance.
        labels: the classes, in order.
        stamps: drawn into the image.

    Returns:
        A matplotlib figure.
    """
    wide = 9.6 if len(points) > 1 else 5.6
    figure = new_figure(width=wide, height=4.9)
    panels = figure.subplots(1, len(points), squeeze=False)[0]
    reference = np.asarray(reference)
    for panel, (system, values) in zip(panels, points.items(), strict=True):
        for place, label in enumerate(labels):
            panel.scatter(
                *values[reference == label].T,
                s=20,
                c=point_colour(place),
                marker=marker(place),
                label=plain(label),
                edgecolors=INK,
                linewidths=0.3,
            )
        panel.set_title(plain(system))
        panel.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
        panel.spines[:].set_visible(True)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=min(len(names), 8), handletextpad=0.2)
    stamp(figure, stamps)
    return figure
