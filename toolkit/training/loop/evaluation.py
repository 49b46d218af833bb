"""What an evaluation finds of every utterance: means of each head's log-probabilities and of the embeddings."""

from collections.abc import Iterable, Mapping
from itertools import chain, zip_longest
from typing import NamedTuple

import numpy as np
from torch import Tensor

from toolkit.contracts import ModelOutput
from toolkit.data.segments import Batch
from toolkit.distributed import gathered, ranks
from toolkit.errors import ToolkitError
from toolkit.statistics.utterance_means import UtteranceMeans


class _Part(NamedTuple):
    """Of one batch: utterances [batch], weights [batch], and name -> [batch, size]."""

    utterances: np.ndarray
    weights: np.ndarray
    scores: dict[str, np.ndarray]
    embeddings: dict[str, np.ndarray]


class Evaluation:
    """Takes in the outputs of all batches; each rank adds every n-th one, and `finish` joins them.

    Segments are added up in the order of the batches, whoever computed them: the means are those of one process.

    Args:
        heads: names of the heads.
        embeddings: names of the embeddings that are kept.

    Attributes:
        scores: head -> means of its log-probabilities.
        embeddings: name -> means.
    """

    def __init__(self, heads: Iterable[str], embeddings: Iterable[str] = ()):
        self.scores = {name: UtteranceMeans() for name in heads}
        self.embeddings = {name: UtteranceMeans() for name in embeddings}
        self._waiting: list[_Part] = []

    def add(self, batch: Batch, output: ModelOutput) -> None:
        """Take in a batch that this rank computed.

        Raises:
            ToolkitError: if a head's scores are not finite.
        """
        scores = {name: _array(output.logits[name].float().log_softmax(-1)) for name in self.scores}
        for name, values in scores.items():
            if not np.isfinite(values).all():
                raise ToolkitError(
                    f"Head {name!r} gives scores that are not finite: the weights have diverged. Lower "
                    "training.optimizer.learning_rate, or set training.max_grad_norm."
                )
        embeddings = {name: _array(output.embeddings[name].float()) for name in self.embeddings}
        part = _Part(batch.utterances.numpy(), batch.weights.numpy(), scores, embeddings)
        if ranks() == 1:
            self._count(part)
        else:
            self._waiting.append(part)

    def finish(self) -> None:
        """After the last batch: all ranks come to know what each of them found."""
        by_rank, self._waiting = gathered(self._waiting), []
        for part in chain.from_iterable(zip_longest(*by_rank)):  # batch 0 of rank 0, batch 0 of rank 1, ...
            if part is not None:
                self._count(part)

    def answers(self, head: str, count: int) -> np.ndarray:
        """The class that a head gives each of `count` utterances: [utterances], -1 for those not seen."""
        answers, means = np.full(count, -1), self.scores[head]
        answers[means.utterances] = means.values.argmax(axis=1)
        return answers

    def _count(self, part: _Part) -> None:
        _add(self.scores, part.scores, part)
        _add(self.embeddings, part.embeddings, part)


def _add(means: Mapping[str, UtteranceMeans], values: Mapping[str, np.ndarray], part: _Part) -> None:
    for name, rows in values.items():
        means[name].add(part.utterances, rows, part.weights)


def _array(values: Tensor) -> np.ndarray:
    return values.cpu().numpy()
