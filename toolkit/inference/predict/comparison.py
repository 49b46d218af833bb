"""`toolkit compare`: two trained systems on the same audio, paired by speaker."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from functools import cached_property, reduce
from typing import Any

import numpy as np

from toolkit.errors import PredictionError
from toolkit.inference.predict.evaluation import CorpusEvaluation
from toolkit.inference.summary import confusions_by
from toolkit.report.evidence import Answers
from toolkit.report.tables.differences import comparison_notes
from toolkit.statistics.comparison import Comparison, compare
from toolkit.statistics.intervals import LEVEL
from toolkit.statistics.metrics import METRICS


@dataclass(frozen=True, eq=False)
class SystemComparison:
    """System B against A, the baseline, on the utterances that both could read; `n_skipped` counts the others."""

    evaluations: tuple[CorpusEvaluation, CorpusEvaluation]
    n_skipped: int

    @classmethod
    def of(cls, evaluations: Sequence[CorpusEvaluation]) -> "SystemComparison":
        """Compare two evaluations on one manifest, over the utterances that both systems could read.

        Raises: PredictionError if there are none.
        """
        return cls(*in_common(evaluations, "by both systems"))

    @cached_property
    def differences(self) -> list[Comparison]:
        """B minus A in WA and UA."""
        a = self.evaluations[0]
        confusions = {e.bundle: confusions_by(e.answers.speaker, e.answers, a.target) for e in self.evaluations}
        return compare(confusions, baseline=a.bundle)

    @property
    def notes(self) -> list[str]:
        """Notes for a reader of the figures."""
        a = self.evaluations[0]
        notes = [f"Left out, since not both systems could read them: {self.n_skipped}."] if self.n_skipped else []
        notes += [f"No utterance is {' or '.join(a.missing)}."] if a.missing else []
        return [*notes, *a.speaker_notes, *comparison_notes(self.differences)]

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON; accuracies are fractions of 1, differences are B minus A."""
        a = self.evaluations[0]
        kept = ("bundle", *METRICS, "intervals", "stamps")
        systems = [{key: values[key] for key in kept} for values in (e.as_dict() for e in self.evaluations)]
        differences = {
            found.metric: {
                "difference": found.difference,
                "interval": found.interval and astuple(found.interval),
                "p": found.p,
                "p_corrected": found.p_corrected,
                "verdict": found.verdict,
            }
            for found in self.differences
        }
        return {
            "systems": systems,
            "differences": differences,
            "interval_level": LEVEL,
            "n_utterances": len(a.answers.id),
            "n_speakers": a.n_speakers,
            "n_skipped": self.n_skipped,
            "missing_classes": a.missing,
            "notes": self.notes,
        }


def in_common(evaluations: Sequence[CorpusEvaluation], how: str) -> tuple[tuple[CorpusEvaluation, ...], int]:
    """Reduce evaluations to the utterances that all could read.

    Args: evaluations: the first one has the whole manifest; how: utterances are labelled in all of them, in words.
    Returns: the evaluations, and how many utterances of the manifest they leave out.
    Raises: PredictionError if there is no such utterance.
    """
    common, found = reduce(np.intersect1d, (e.answers.id for e in evaluations)), []
    if not len(common):
        raise PredictionError(f"No utterance could be labelled {how}: there is nothing to compare")
    for evaluation in evaluations:
        rows = np.isin(evaluation.answers.id, common)
        answers = Answers(**{name: values[rows] for name, values in vars(evaluation.answers).items()})
        found.append(replace(evaluation, answers=answers))
    first = evaluations[0]
    return tuple(found), len(first.answers.id) + first.n_skipped - len(common)
