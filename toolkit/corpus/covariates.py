"""What is known about an utterance beside its audio, as class indices: any column of the manifest, gender first.

The reading of "gender as prior knowledge" in "Multilevel emotion recognition of audio features based on
multitask" (SER+MF), and its control: values that are shuffled, which shows whether a gain is real.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from toolkit.errors import CorpusError, did_you_mean


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
