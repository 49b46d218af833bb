"""What a report shows where there is a choice; never chosen by a test result."""

from collections.abc import Sequence
from dataclasses import dataclass

from toolkit.errors import ExperimentError, did_you_mean, join
from toolkit.report.evidence import Evidence, SystemRuns

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
    pair: tuple[SystemRuns, ...]
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
    """Take the options; by default the first protocol, the baseline and the system with most parts, the first folds.

    Raises:
        ExperimentError: if an option names something that the experiment does not have.
    """
    outcome = evidence.outcome
    protocol = protocol or outcome.plan.protocols[0]
    _check_known("--protocol", "protocol", [protocol], outcome.plan.protocols)
    folds = outcome.plan.folds[protocol]
    if pair is not None and len(pair) != 2:
        raise ExperimentError(
            f"--pair takes two systems, for example {','.join([*outcome.plan.systems][:2])}; found {len(pair)}."
        )
    _check_known("--pair", "system", pair or (), outcome.plan.systems)
    _check_known("--tsne-fold", "fold", [tsne_fold] if tsne_fold else (), folds)
    _check_known("--speakers", "test fold", speakers or (), folds)
    chosen = tuple(evidence.all_of(dict.fromkeys(pair), protocol)) if pair else _default_pair(evidence, protocol)
    for tested in chosen:
        if not tested.runs:
            raise ExperimentError(f"--pair: {tested.system!r} has no finished run under {protocol}.")
    cells = [{(run.fold, run.seed) for run in tested.runs} for tested in chosen]
    common = set.intersection(*cells) if cells else set()
    order = [(fold, seed) for fold in folds for seed in outcome.plan.seeds if (fold, seed) in common]
    if tsne_fold:
        order = [cell for cell in order if cell[0] == tsne_fold]
        if not order:
            names = join(tested.system for tested in chosen)
            raise ExperimentError(f"--tsne-fold: {names} have no finished run of one seed on {tsne_fold!r}.")
    return Choices(protocol, chosen, order[0] if order else None, tuple(speakers or folds[:CURVES]))


def _default_pair(evidence: Evidence, protocol: str) -> tuple[SystemRuns, ...]:
    """The baseline, or the first system that has runs, and of the others the last with the most parts."""
    there = evidence.tested(protocol)
    there.sort(key=lambda tested: tested.system != evidence.outcome.baseline)
    if len(there) < 2:
        return tuple(there)
    first, *others = there
    return first, max(reversed(others), key=_parts)


def _parts(tested: SystemRuns) -> int:
    model = tested.recipe["model"]
    return sum(len(model.get(kind) or {}) for kind in ("levels", "covariates", "heads", "losses"))


def _check_known(option: str, noun: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise ExperimentError(
                f"{option}: this experiment has no {noun} {name!r}.{did_you_mean(name, known)} "
                f"It has {', '.join(known)}."
            )
