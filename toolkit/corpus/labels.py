"""From a corpus's labels to a recipe's classes."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from toolkit.corpus.utterance import Utterance
from toolkit.errors import CorpusError, counted, did_you_mean


def map_label(label: str, label_map: Mapping[str, str | None] | None) -> str | None:
    """Return what `label_map` makes of a label; None where it is left out on purpose."""
    if label_map and label in label_map:
        mapped = label_map[label]
        return None if mapped is None else str(mapped)
    return label


def label_faults(
    utterances: Iterable[Utterance], labels: Sequence[str] | None, label_map: Mapping[str, str | None] | None
) -> list[tuple[str, str, str]]:
    """List what is wrong between a corpus's labels and a recipe's `labels` and `label_map`.

    Returns:
        (kind, message, label) for each; kinds: "unmapped-label", "label-map", "empty-class", "one-class".
    """
    labels, label_map = _as_text(labels, label_map)
    mapped = Counter(map_label(u.label, label_map) for u in utterances)
    mapped.pop(None, None)
    faults = []
    for source, target in label_map.items():
        if labels is not None and target is not None and target not in labels:
            text = f"label_map sends {source!r} to {target!r}, which is not in labels ({', '.join(labels)})."
            faults.append(("label-map", text + did_you_mean(target, labels), source))
    for label, count in sorted(mapped.items()):
        if labels is not None and label not in labels and label not in label_map.values():
            text = (
                f"label {label!r} ({counted(count, 'utterance')}) is neither in labels ({', '.join(labels)})"
                " nor in label_map."
                f"{did_you_mean(label, labels)} Add {{{label}: null}} to label_map to leave it out,"
                f" or {{{label}: another}} to count it as another"
            )
            faults.append(("unmapped-label", text, label))
    for label in labels or ():
        if not mapped[label]:
            text = f"class {label!r} has no utterance; the corpus has {_listed(mapped) or 'none at all'}"
            faults.append(("empty-class", text + did_you_mean(label, set(mapped) - set(labels)), label))
    classes = labels or sorted(mapped)
    if len(classes) < 2:
        found = f"only {classes[0]!r}" if classes else "no class"
        faults.append(("one-class", f"{found} is left after label_map; a classifier needs two classes", "labels"))
    return faults


def apply_labels(
    utterances: Sequence[Utterance],
    labels: Sequence[str] | None = None,
    label_map: Mapping[str, str | None] | None = None,
) -> tuple[list[Utterance], list[str]]:
    """Apply a recipe's `label_map` and `labels`.

    Args:
        utterances: as the corpus has them.
        labels: the classes in order; None for all that is left, sorted.
        label_map: label of the corpus -> class, or None to leave it out.

    Returns:
        The utterances kept, with their class as label, and the classes in order.

    Raises:
        CorpusError: if a label is neither a class nor mapped, or a class has no utterance.

    >>> ex = [Utterance(id=str(i), path=f"{i}.wav", label=x) for i, x in enumerate(["exc", "sad", "fru"])]
    >>> kept, order = apply_labels(ex, label_map={"exc": "hap", "fru": None})
    >>> [u.label for u in kept], order
    (['hap', 'sad'], ['hap', 'sad'])
    """
    faults = label_faults(utterances, labels, label_map)
    if faults:
        raise CorpusError("; ".join(message for _, message, _ in faults))
    labels, label_map = _as_text(labels, label_map)
    kept = []
    for u in utterances:
        label = map_label(u.label, label_map)
        if label is not None:
            kept.append(u if label == u.label else replace(u, label=label))
    return kept, labels if labels is not None else sorted({u.label for u in kept})


def _as_text(labels, label_map) -> tuple[list[str] | None, dict[str, str | None]]:
    """YAML may hold numbers as labels; everything else compares text."""
    mapping = {str(k): None if v is None else str(v) for k, v in (label_map or {}).items()}
    return None if labels is None else [str(label) for label in labels], mapping


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{label} ({count})" for label, count in sorted(counts.items()) if count)
