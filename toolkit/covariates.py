"""What is known or guessed about an utterance beside its audio: any column of the manifest, gender first.

The reading of "gender as prior knowledge" in "Multilevel emotion recognition of audio features based on
multitask" (SER+MF), with two companions: the covariate predicted from the audio, so that a trained system
needs no label, and a shuffled one, the control that shows whether a gain is real. Statistics of frames:
Snyder et al., ICASSP 2018.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from toolkit.contracts import Seq
from toolkit.errors import CorpusError, did_you_mean
from toolkit.pooling import statistics_pooling


def class_index(value: str | None, classes: Sequence[str], *, covariate: str, utterance_id: str) -> int:
    """The place of an utterance's value among the covariate's classes.

    Args:
        value: the utterance's value.
        classes: sorted over the whole manifest (never over a fold), or those of a trained system.
        covariate: the column's name, for the error.
        utterance_id: for the error.

    Returns:
        0 to len(classes) - 1.

    Raises:
        CorpusError: if the value is missing or none of the classes.

    >>> class_index("M", ("F", "M"), covariate="gender", utterance_id="Ses01F_impro01_F000")
    1
    """
    if value in classes:
        return list(classes).index(value)
    if not value:
        raise CorpusError(
            f"Utterance {utterance_id!r} has no {covariate}, and the system reads it. Fill the manifest's column "
            f"{covariate!r}, or use a system with `source: predicted`, which needs none."
        )
    raise CorpusError(
        f"Utterance {utterance_id!r}: {covariate} {value!r} is none of {', '.join(classes)}."
        f"{did_you_mean(value, classes)}"
    )


def marginal(values: Iterable[str | None]) -> dict[str, int]:
    """How often each value occurs in the corpus, sorted by value; utterances without one do not count.

    >>> marginal(["M", "F", None, "M"])
    {'F': 1, 'M': 2}
    """
    return dict(sorted(Counter(value for value in values if value).items()))


def shuffled_value(utterance_id: str, seed: int, marginal: Mapping[str, float], covariate: str = "gender") -> str:
    """A value that knows nothing of the utterance: drawn from the corpus's marginal, keyed by seed and id.

    The same in training, validation and test, on every machine, in any order; no random generator is touched.

    Args:
        utterance_id: the key within the corpus.
        seed: of the run.
        marginal: value -> its number or share in the corpus.
        covariate: its name; two covariates of one system are drawn independently.

    Returns:
        One of the marginal's values.

    Raises:
        CorpusError: if the marginal is empty or its numbers are not all >= 0 with a sum above 0.

    >>> shuffled_value("Ses01F_impro01_F000", 1, {"F": 2, "M": 3})
    'M'
    >>> shuffled_value("Ses01F_impro01_F000", 1, {"F": 1})
    'F'
    """
    total = sum(marginal.values())
    if not total > 0 or min(marginal.values()) < 0:
        raise CorpusError(f"The covariate {covariate!r} cannot be drawn from the counts {dict(marginal)}.")
    key = "\0".join((covariate, str(seed), utterance_id)).encode()
    share = int.from_bytes(hashlib.sha256(key).digest()[:6], "big") / 2**48  # in [0, 1)
    reached = 0.0
    values = [value for value in sorted(marginal) if marginal[value] > 0]
    for value in values:
        reached += marginal[value]
        if share * total < reached:
            return value
    return values[-1]  # shares that do not quite sum up


def one_hot(indices: Tensor, classes: int) -> Tensor:
    """A known covariate as probabilities.

    Args:
        indices: [batch], int64, from `class_index`; negative where the value is not known.
        classes: their number.

    Returns:
        [batch, classes], float32; zeros in a row whose value is not known.

    >>> one_hot(torch.tensor([1, -1]), 2)
    tensor([[0., 1.],
            [0., 0.]])
    """
    return (indices[:, None] == torch.arange(classes, device=indices.device)).float()


class PredictedCovariate(nn.Module):
    """A covariate guessed from a level's frames before the fusion: mean and deviation, then a small head.

    The probabilities are detached, in training too: the fusion cannot bend the guess to its own use, and
    trains on what it will be given later. The logits carry the gradient of the covariate's own loss.

    Args:
        channels: of the level's frames.
        classes: of the covariate.
        hidden: size of one hidden layer (ReLU), or None for a linear head.
        dropout: probability before each linear layer.

    Source: statistics pooling of Snyder et al., "X-vectors", ICASSP 2018.
    """

    def __init__(self, *, channels: int, classes: int, hidden: int | None = None, dropout: float = 0.0):
        super().__init__()
        size = 2 * channels
        layers: list[nn.Module] = []
        if hidden is not None:
            layers = [nn.Dropout(dropout), nn.Linear(size, hidden), nn.ReLU()]
            size = hidden
        self.head = nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(size, classes))

    def forward(self, level: Seq) -> tuple[Tensor, Tensor]:
        """Guess.

        Args:
            level: [batch, frames, channels].

        Returns:
            Probabilities [batch, classes], detached, summing to 1; logits [batch, classes].

        Raises:
            ShapeError: if a length is 0 or exceeds frames (on the CPU).
        """
        logits = self.head(statistics_pooling(level))
        return logits.detach().float().softmax(dim=1), logits
