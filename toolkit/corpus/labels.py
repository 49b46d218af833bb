"""Map a corpus's labels to a recipe's classes."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from toolkit.corpus.utterance import Problem, Utterance
from toolkit.errors import CorpusError, counted, did_you_mean, listed


def label_faults(
    utterances: Sequence[Utterance], labels: Sequence[str] | None, label_map: Mapping[str, str | None] | None
) -> list[Problem]:
    """An error wherever a corpus's labels and a recipe's `labels` and `label_map` do not fit."""
    label_map = label_map or {}
    mapped = Counter(label_map.get(u.label, u.label) for u in utterances)
    mapped.pop(None, None)
    faults = []
    for label, count in sorted(mapped.items()):
        if labels is not None and label not in labels and label not in label_map.values():
            found = f"label {label!r} ({counted(count, 'utterance')}) is neither in labels ({listed(labels)})"
            key = json.dumps(label, ensure_ascii=False)  # in YAML a bare 1 or null would not be text
            remedy = f"Add {{{key}: null}} to label_map to leave it out, or {{{key}: CLASS}} to count it as CLASS"
            text = f"{found} nor in label_map.{did_you_mean(label, labels)} {remedy}"
            faults.append(Problem("unmapped-label", "error", text, label))
    if labels is None:  # else a misspelt label is also unmapped
        present = {u.label for u in utterances}
        for label in sorted(label_map.keys() - present):
            if near := did_you_mean(label, present - label_map.keys() - set(label_map.values())):
                text = f"label_map names {label!r}, which no utterance has.{near}"
                faults.append(Problem("unknown-label", "error", text, label))
    for label in labels or ():
        if not mapped[label]:
            found = listed(f"{label} ({count})" for label, count in sorted(mapped.items()) if count)
            text = f"class {label!r} has no utterance; the corpus has {found or 'none at all'}"
            near = did_you_mean(label, set(mapped) - set(labels))
            faults.append(Problem("empty-class", "error", text + near, label))
    classes = labels or sorted(mapped)
    if len(classes) < 2:
        found = f"only {classes[0]!r}" if classes else "no class"
        text = f"{found} is left after label_map; a classifier needs two classes"
        faults.append(Problem("one-class", "error", text, "labels"))
    return faults


def apply_labels(
    utterances: Sequence[Utterance],
    labels: Sequence[str] | None = None,  # the classes in order; None for all that are left, sorted
    label_map: Mapping[str, str | None] | None = None,  # label of the corpus -> class, or None to leave it out
) -> tuple[list[Utterance], list[str]]:
    """Apply a recipe's `label_map` and `labels` to utterances as the corpus has them.

    Returns: the utterances kept, with their class as label, and the classes in order.
    Raises: CorpusError if a label is neither a class nor mapped, or a class has no utterance.

    >>> ex = [Utterance(id=str(i), path=f"{i}.wav", label=x) for i, x in enumerate(["exc", "sad", "fru"])]
    >>> kept, order = apply_labels(ex, label_map={"exc": "hap", "fru": None})
    >>> [u.label for u in kept], order
    (['hap', 'sad'], ['hap', 'sad'])
    """
    if faults := label_faults(utterances, labels, label_map):
        more = f"; and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise CorpusError("; ".join(fault.message for fault in faults[:10]) + more)
    mapped = [(u, (label_map or {}).get(u.label, u.label)) for u in utterances]
    kept = [u if label == u.label else replace(u, label=label) for u, label in mapped if label is not None]
    return kept, sorted({u.label for u in kept}) if labels is None else list(labels)
