"""What a report shows where there is a choice; never chosen by a test result. Imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass

from toolkit.errors import ExperimentError, did_you_mean
from toolkit.report.evidence import Evidence

CURVES = 3  # test folds whose curves are drawn where none are named


@dataclass(frozen=True)
class Choices:
    """What is shown.

    Args:
        protocol: the one whose figures are shown.
        pair: systems drawn side by side: two, or one where no other has runs.
        embedded: the fold and seed whose embeddings are drawn; None where no fold has runs of the whole pair.
        curves: test folds whose accuracy is drawn against epochs.
    """

    protocol: str
    pair: tuple[str, ...]
    embedded: tuple[str, int] | None
    curves: tuple[str, ...]


def choose(
    evidence: Evidence,
    *,
    protocol: str | None = None,
    pair: Sequence[str] | None = None,
    tsne_fold: str | None = None,
    speakers: Sequence[str] | None = None,
) -> Choices:
    """Take what was asked for; else the first protocol, the baseline beside the system of most parts, the first folds.

    Raises:
        ExperimentError: if something is asked for that the experiment has not.
    """
    outcome = evidence.outcome
    protocol = protocol or outcome.protocols[0]
    _known("--protocol", "protocol", [protocol], outcome.protocols)
    folds = outcome.folds[protocol]
    if pair is not None and len(pair) != 2:
        raise ExperimentError(f"--pair takes two systems, as {','.join(outcome.systems[:2])}; found {len(pair)}.")
    _known("--pair", "system", pair or (), outcome.systems)
    _known("--tsne-fold", "fold", [tsne_fold] if tsne_fold else (), folds)
    _known("--speakers", "test fold", speakers or (), folds)
    tested = evidence.tested(protocol)
    for system in pair or ():
        if system not in tested:
            raise ExperimentError(f"--pair: {system!r} has no finished run under {protocol}.")
    chosen = tuple(dict.fromkeys(pair)) if pair else _pair(evidence, tested)
    cells = [{(run.fold, run.seed) for run in outcome.of(system, protocol)} for system in chosen]
    common = set.intersection(*cells) if cells else set()
    order = [(fold, seed) for fold in folds for seed in outcome.seeds if (fold, seed) in common]
    if tsne_fold:
        order = [cell for cell in order if cell[0] == tsne_fold]
        if not order:
            raise ExperimentError(
                f"--tsne-fold: {' and '.join(chosen)} have no finished run of one seed on {tsne_fold!r}."
            )
    return Choices(protocol, chosen, order[0] if order else None, tuple(speakers or folds[:CURVES]))


def _pair(evidence: Evidence, tested: Sequence[str]) -> tuple[str, ...]:
    """The baseline, or the first system that has runs, and of the others the last with the most parts."""
    if not tested:
        return ()
    first = evidence.outcome.baseline if evidence.outcome.baseline in tested else tested[0]
    others = [system for system in tested if system != first]
    return (first, max(reversed(others), key=lambda system: _parts(evidence, system))) if others else (first,)


def _parts(evidence: Evidence, system: str) -> int:
    model = evidence.recipes[system]["model"]
    return sum(len(model.get(kind) or {}) for kind in ("levels", "covariates", "heads", "losses"))


def _known(option: str, noun: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise ExperimentError(
                f"{option}: this experiment has no {noun} {name!r}.{did_you_mean(name, known)} "
                f"It has {', '.join(known)}."
            )
