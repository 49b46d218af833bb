"""`toolkit compare`: two trained systems on the same audio, paired by speaker."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from functools import cached_property, reduce
from typing import Any, ClassVar

import numpy as np

from toolkit.errors import PredictionError, join
from toolkit.inference.predict.evaluation import CorpusEvaluation
from toolkit.inference.summary import confusions_by
from toolkit.report.tables.differences import comparison_notes
from toolkit.statistics.comparison import LEVEL, Comparison, compare
from toolkit.statistics.metrics import METRICS
from toolkit.training.predictions import Answers


@dataclass(frozen=True, eq=False)
class PairedEvaluations:
    """Evaluations on the same utterances, by name; the first one is the baseline of the others."""

    evaluations: Mapping[str, CorpusEvaluation]
    metrics: ClassVar[Sequence[str]] = METRICS

    @classmethod
    def of(cls, evaluations: Mapping[str, CorpusEvaluation], how: str) -> "PairedEvaluations":
        """Reduce evaluations to the utterances that all could read.

        Args: evaluations: the first one has the whole manifest; how: for the error, "by both systems".
        Raises: PredictionError if not one utterance is left.
        """
        common = reduce(np.intersect1d, (e.answers.id for e in evaluations.values()))
        if not len(common):
            raise PredictionError(f"No utterance could be labelled {how}: there is nothing to compare")
        found = {}
        for name, evaluation in evaluations.items():
            rows = np.isin(evaluation.answers.id, common)
            answers = Answers(**{column: values[rows] for column, values in vars(evaluation.answers).items()})
            found[name] = replace(evaluation, answers=answers)
        return cls(found)

    @property
    def baseline(self) -> CorpusEvaluation:
        """The first evaluation."""
        return next(iter(self.evaluations.values()))

    @property
    def n_skipped(self) -> int:
        """The number of utterances that are left out, since not all evaluations could read them."""
        return self.baseline.n_skipped

    @cached_property
    def differences(self) -> list[Comparison]:
        """The others minus the baseline in every metric, paired by speaker."""
        target = self.baseline.target
        confusions = {name: confusions_by("speaker", e.answers, target) for name, e in self.evaluations.items()}
        return compare(confusions, baseline=next(iter(confusions)), metrics=self.metrics)


class SystemComparison(PairedEvaluations):
    """System B against A, the baseline, by their bundles."""

    @property
    def notes(self) -> list[str]:
        """Notes for a reader of the figures."""
        a = self.baseline
        notes = [f"Left out, since not both systems could read them: {self.n_skipped}."] if self.n_skipped else []
        notes += [f"No utterance is {join(a.missing, 'or')}."] if a.missing else []
        return [*notes, *a.speaker_notes, *comparison_notes(self.differences)]

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON; accuracies are fractions of 1, differences are B minus A."""
        a = self.baseline
        kept = ("bundle", *METRICS, "intervals", "stamps")
        systems = [{key: values[key] for key in kept} for values in (e.as_dict() for e in self.evaluations.values())]
        differences = {
            found.metric: {key: getattr(found, key) for key in ("difference", "p", "p_corrected", "verdict")}
            | {"interval": found.interval and astuple(found.interval)}
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
