"""Covariates: metadata of an utterance as class indices, for example its gender.

"Gender as prior knowledge" in "Multilevel emotion recognition of audio features based on multitask" (SER+MF), and its
control: shuffled values, which show whether a gain is real.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping

from toolkit.corpus.targets import UNKNOWN, Target
from toolkit.errors import CorpusError


def known_index(target: Target, value: str | None, utterance_id: str) -> int:
    """The index of an utterance's value of a covariate, which a system reads and so has to be known.

    Raises:
        CorpusError: if the value is missing or not one of the classes.
    """
    index = target.index(value)
    if index == UNKNOWN:
        raise CorpusError(
            f"Utterance {utterance_id!r} has no {target.name}, and the system reads it. Fill the manifest's column "
            f"{target.name!r}, or use a system with `source: predicted`, which needs none."
        )
    return index


def marginal(values: Iterable[str | None]) -> dict[str, int]:
    """How often each value occurs in the corpus, sorted by value; utterances without one do not count.

    >>> marginal(["M", "F", None, "M"])
    {'F': 1, 'M': 2}
    """
    return dict(sorted(Counter(value for value in values if value).items()))


def shuffled_value(utterance_id: str, seed: int, marginal: Mapping[str, float], covariate: str = "gender") -> str:
    """A value independent of the utterance: drawn from the corpus's marginal, keyed by seed and id.

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
    return values[-1]  # rounding
