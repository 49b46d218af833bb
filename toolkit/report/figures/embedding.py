"""Embeddings in two dimensions, by t-SNE (van der Maaten and Hinton, JMLR 9, 2008)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.report.evidence import SystemRuns, stamps_of
from toolkit.report.figures.figure import INK, Figure, names_of, new_figure, points

PERPLEXITY = 30.0
SEED = 0


def embedding_figure(pair: Sequence[SystemRuns], cell: tuple[str, int] | None) -> Figure | None:
    """The pair's fused embeddings of one fold and seed; None where the pair has none in common."""
    if cell is None:
        return None
    fold, seed = cell
    runs = [run for tested in pair for run in tested.runs if (run.cell.fold, run.cell.seed) == cell]
    arrays = {run.cell.system: run.embeddings() for run in runs}
    reference = next(iter(arrays.values()))["reference"].astype(str)
    return Figure(
        "tsne",
        f"Fused embeddings of {names_of(pair)}",
        f"t-SNE of the test utterances of fold {fold}, seed {seed} ({len(reference)} utterances), perplexity "
        f"{perplexity(len(reference)):g}. Each panel is a projection of its own: distances between groups, sizes and "
        "directions mean nothing.",
        f"Two-dimensional projections of the fused embeddings of {names_of(pair)}, coloured by class.",
        lambda: draw_embeddings(
            {system: project(values["fused"]) for system, values in arrays.items()}, reference, pair[0].labels
        ),
        stamps_of(pair),
    )


def perplexity(utterances: int) -> float:
    """How many neighbours a point has; less than a third of the points.

    >>> perplexity(500), perplexity(46)
    (30.0, 15.0)
    """
    return min(PERPLEXITY, max(1.0, (utterances - 1) / 3))


def project(embeddings: np.ndarray) -> np.ndarray:
    """[utterances, size] -> [utterances, 2]: two dimensions that keep neighbours, the same every time."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    points = np.asarray(embeddings, dtype=np.float64)
    if len(points) < 4 or min(points.shape) < 2 or not np.ptp(points, axis=0).any():
        return np.pad(points, ((0, 0), (0, 2)))[:, :2]  # too little to project
    with threadpool_limits(1):  # sums of several threads differ in their last bits
        tsne = TSNE(init="pca", learning_rate="auto", perplexity=perplexity(len(points)), random_state=SEED)
        return tsne.fit_transform(points)


def draw_embeddings(projections: Mapping[str, np.ndarray], reference: Sequence[str], labels: Sequence[str]) -> Any:
    """One panel for each system -> [utterances, 2], one colour and marker for each class."""
    figure = new_figure(panels=len(projections), height=4.9)
    panels = figure.subplots(1, len(projections), squeeze=False)[0]
    reference = np.asarray(reference)
    for panel, (system, values) in zip(panels, projections.items(), strict=True):
        for index, label in enumerate(labels):
            chosen = values[reference == label]
            panel.scatter(*chosen.T, s=20, **points(index), label=label, edgecolors=INK, linewidths=0.3)
        panel.set_title(system)
        panel.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
        panel.spines[:].set_visible(True)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=min(len(names), 8), handletextpad=0.2)
    return figure
