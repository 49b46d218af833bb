"""From the labels of another corpus to the classes of a trained system. Imports no torch."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from toolkit.corpus import Utterance
from toolkit.corpus.labels import map_label
from toolkit.errors import PredictionError, did_you_mean


def read_label_map(options: Sequence[str]) -> dict[str, str | None]:
    """Read LABEL=CLASS pairs, separated by commas; without a class the label is left out.

    Raises:
        PredictionError: if a pair has no `=` or no label, or maps a label again.

    >>> read_label_map(["angry=ang,calm=", "sadness=sad"])
    {'angry': 'ang', 'calm': None, 'sadness': 'sad'}
    """
    found: dict[str, str | None] = {}
    for pair in (pair for option in options for pair in option.split(",") if pair.strip()):
        label, equals, name = (part.strip() for part in pair.partition("="))
        if not label or not equals:
            raise PredictionError(f"--map {pair.strip()!r}: LABEL=CLASS is needed, or LABEL= to leave a label out")
        if label in found:
            raise PredictionError(f"--map maps {label!r} twice")
        found[label] = name or None
    return found


def map_corpus(
    utterances: Sequence[Utterance], classes: Sequence[str], label_map: Mapping[str, str | None]
) -> tuple[list[Utterance], dict[str, int]]:
    """Give utterances the classes of a system.

    Args:
        utterances: with the labels of their corpus.
        classes: the system's.
        label_map: label -> class, or None to leave it out; other labels stay.

    Returns:
        The utterances with a class, in order, and how many of each label were left out.

    Raises:
        PredictionError: if a label is mapped to a class that the system does not have, or is neither mapped nor a
            class; all such labels are listed.

    >>> corpus = [Utterance(id=str(i), path=f"{i}.wav", label=x) for i, x in enumerate(["angry", "sad", "calm"])]
    >>> mapped, left_out = map_corpus(corpus, ["ang", "neu", "sad"], {"angry": "ang", "calm": None})
    >>> [u.label for u in mapped], left_out
    (['ang', 'sad'], {'calm': 1})
    """
    for label, name in label_map.items():
        if name is not None and name not in classes:
            raise PredictionError(
                f"--map sends {label!r} to {name!r}, which the system does not know.{did_you_mean(name, classes)} It "
                f"knows {', '.join(classes)}"
            )
    counts = Counter(u.label for u in utterances)
    unknown = [label for label in sorted(counts) if label not in label_map and label not in classes]
    if unknown:
        listed = ", ".join(f"{label!r} ({counts[label]}){did_you_mean(label, classes)}" for label in unknown)
        what = f"{len(unknown)} labels of the manifest are" if len(unknown) > 1 else "1 label of the manifest is"
        raise PredictionError(
            f"{what} not among the system's classes ({', '.join(classes)}): {listed} Add "
            f"--map {unknown[0]}=CLASS to count one as a class, or --map {unknown[0]}= to leave its utterances out"
        )
    mapped = [(u, map_label(u.label, label_map)) for u in utterances]
    kept = [replace(u, label=label) for u, label in mapped if label is not None]
    if not kept:
        raise PredictionError("--map leaves out every utterance of the manifest: there is nothing to test")
    return kept, {label: counts[label] for label, name in label_map.items() if name is None and counts[label]}
