"""A trained system on a corpus whose labels are known: its answers beside the truth."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from toolkit.corpus.utterance import Utterance
from toolkit.errors import PredictionError, ToolkitError
from toolkit.inference.predict.covariate_values import GivenCovariates, class_indices
from toolkit.inference.predict.recordings import Recording
from toolkit.inference.predict.telling import Skipped, progress
from toolkit.statistics import SpeakerConfusions, speaker_confusions

if TYPE_CHECKING:
    from toolkit.inference.predict.model import Model


@dataclass(frozen=True)
class Settings:
    """The options of `toolkit evaluate` and `toolkit compare`.

    Args:
        label_map: LABEL=CLASS pairs.
        batch_size: segments a batch.
        device: where systems compute.
        covariates: NAME=VALUE or NAME=@COLUMN; one that is not named is read from the column of its name.
    """

    label_map: Sequence[str] = ()
    batch_size: int = 16
    device: str | None = None
    covariates: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class CorpusAnswers:
    """Utterances with what a system answered.

    Args:
        labels: the system's classes, in order.
        utterances: those that could be read, with their class as label.
        probabilities: [utterances, classes].
        n_skipped: how many could not be read.
    """

    labels: tuple[str, ...]
    utterances: tuple[Utterance, ...]
    probabilities: np.ndarray
    n_skipped: int

    @property
    def reference(self) -> list[str]:
        """The true class of each utterance."""
        return [u.label for u in self.utterances]

    @property
    def predicted(self) -> list[str]:
        """The class that was predicted for each."""
        return [self.labels[index] for index in self.probabilities.argmax(axis=1)]

    @property
    def missing(self) -> list[str]:
        """The classes that no utterance has."""
        there = set(self.reference)
        return [label for label in self.labels if label not in there]

    @property
    def speakers(self) -> list[str]:
        """The speakers, each once."""
        return list(dict.fromkeys(u.speaker for u in self.utterances if u.speaker))

    @property
    def nameless(self) -> int:
        """How many utterances have no speaker."""
        return sum(not u.speaker for u in self.utterances)

    def confusions(self, classes: Sequence[str]) -> SpeakerConfusions:
        """Counts by speaker, classes in this order; utterances without a speaker are one speaker's."""
        speakers = [u.speaker or "" for u in self.utterances]
        return speaker_confusions(speakers, self.reference, self.predicted, classes=classes)

    def of(self, ids: set[str]) -> "CorpusAnswers":
        """The same of some utterances."""
        rows = [row for row, u in enumerate(self.utterances) if u.id in ids]
        utterances = tuple(self.utterances[row] for row in rows)
        return replace(self, utterances=utterances, probabilities=self.probabilities[rows])


def answer_corpus(
    model: "Model",
    utterances: Sequence[Utterance],
    given: GivenCovariates,
    *,
    batch_size: int,
    say: Callable[[str], None],
    shown: bool,
) -> CorpusAnswers:
    """Let a system answer for a corpus.

    Args:
        model: the system.
        utterances: with the system's classes as labels.
        given: the covariates; one that is not given is read from the column of its name.
        batch_size: segments a batch.
        say: prints a line for the reader.
        shown: whether to draw a progress bar on standard error.

    Raises:
        PredictionError: if nothing can be read, or a covariate is given for no utterance.
    """
    given = _with_own_columns(given, model.usage.covariates, utterances)
    recordings = [
        Recording(u.path, u.start, u.end, given.of({name: u.value(name) for name in given.columns.values()}))
        for u in utterances
    ]
    results = progress(model.results(recordings, batch_size=batch_size), total=len(recordings), shown=shown)
    skipped = Skipped(say)
    found, rows = [], []
    for u, (_, result) in zip(utterances, results, strict=True):
        if isinstance(result, ToolkitError):
            skipped(str(result))
        else:
            found.append(u)
            rows.append([result.probabilities[label] for label in model.labels])
    if not found:
        raise PredictionError("No utterance of the manifest could be labelled: there is nothing to test")
    return CorpusAnswers(model.labels, tuple(found), np.array(rows), skipped.count)


def _with_own_columns(
    given: GivenCovariates, wanted: Mapping[str, Sequence[str]], utterances: Sequence[Utterance]
) -> GivenCovariates:
    columns = {name: name for name in wanted if name not in given.values} | dict(given.columns)
    for name, of in columns.items():
        if name in wanted and not any(u.value(of) for u in utterances):
            class_indices({name: wanted[name]}, {})  # refused, with what to do
    found = GivenCovariates(given.values, columns)
    found.check(wanted)
    return found
