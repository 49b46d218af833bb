"""Outputs of an evaluation: for every utterance, the means of each head's scores and of the embeddings."""

from collections.abc import Iterable, Mapping
from itertools import chain, zip_longest

import numpy as np

from toolkit.contracts import ModelOutput
from toolkit.corpus.targets import Target
from toolkit.data.segments import Batch
from toolkit.distributed import gathered, ranks
from toolkit.errors import ToolkitError
from toolkit.statistics.metrics import UtteranceMeans


class UtteranceOutputs:
    """The means of each head's `scores` and of `embeddings`; each rank adds every n-th batch, and `finish` joins them.

    Segments are added up in the order of the batches, whichever rank computed them, as a single process would.
    """

    def __init__(self, heads: Mapping[str, Target], embeddings: Iterable[str] = ()):
        self.scores, self.embeddings = UtteranceMeans(), UtteranceMeans()
        self._heads, self._kept = dict(heads), tuple(embeddings)
        self._pending: list[tuple] = []  # batches of this rank that the others do not have yet

    def add(self, batch: Batch, output: ModelOutput) -> None:
        """Add a batch that this rank computed. Raises: ToolkitError if a head's scores are not finite."""
        scores = {name: target.scores(output.logits[name]).cpu().numpy() for name, target in self._heads.items()}
        for name, values in scores.items():
            if not np.isfinite(values).all():
                problem = f"Head {name!r} gives scores that are not finite: the weights have diverged"
                remedy = "Lower training.optimizer.learning_rate, or set training.max_grad_norm"
                raise ToolkitError(f"{problem}. {remedy}.")
        embeddings = {name: output.embeddings[name].float().cpu().numpy() for name in self._kept}
        self._pending.append((batch.utterances.numpy(), batch.weights.numpy(), scores, embeddings))
        if ranks() == 1:
            self.finish()

    def finish(self) -> None:
        """After the last batch: give every rank the outputs of all."""
        by_rank, self._pending = gathered(self._pending), []
        for part in chain.from_iterable(zip_longest(*by_rank)):  # batch 0 of rank 0, batch 0 of rank 1, ...
            if part is not None:
                utterances, weights, scores, embeddings = part
                self.scores.add(utterances, weights, scores)
                self.embeddings.add(utterances, weights, embeddings)
