"""Labels become a recipe's classes; names that are alike, perhaps of one speaker or label, are found or joined."""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from toolkit.corpus.utterance import COLUMNS, Problem, Utterance, plain_marks
from toolkit.errors import CorpusError, counted, did_you_mean, listed

ALIKE = "differ only in case, spaces or Unicode form"
VARIANTS = "\ufe0e\ufe0f"  # variation selectors: a symbol as text or in colour
REMEDY = "--normalize true joins them, --normalize false keeps them apart"


def label_faults(
    utterances: Sequence[Utterance], labels: Sequence[str] | None, label_map: Mapping[str, str | None] | None
) -> Iterator[Problem]:
    """An error wherever a corpus's labels and a recipe's `labels` and `label_map` do not fit."""
    label_map = label_map or {}
    mapped = Counter(label_map.get(u.label, u.label) for u in utterances)
    mapped.pop(None, None)
    for label, count in sorted(mapped.items()):
        if labels is not None and label not in labels and label not in label_map.values():
            found = f"label {label!r} ({counted(count, 'utterance')}) is neither in labels ({listed(labels)})"
            key = json.dumps(label, ensure_ascii=False)  # in YAML a bare 1 or null would not be text
            remedy = f"Add {{{key}: null}} to label_map to leave it out, or {{{key}: CLASS}} to count it as CLASS"
            text = f"{found} nor in label_map.{did_you_mean(label, labels)} {remedy}"
            yield Problem("unmapped-label", "error", text, label)
    present = {u.label for u in utterances}
    for label in sorted(label_map.keys() - present) if labels is None else ():  # else a misspelt label is also unmapped
        if near := did_you_mean(label, present - label_map.keys() - set(label_map.values())):
            text = f"label_map names {label!r}, which no utterance has.{near}"
            yield Problem("unknown-label", "error", text, label)
    for label in labels or ():
        if label not in mapped:
            found = listed(f"{label} ({count})" for label, count in sorted(mapped.items())) or "none at all"
            text = f"class {label!r} has no utterance; the corpus has {found}"
            yield Problem("empty-class", "error", text + did_you_mean(label, set(mapped) - set(labels)), label)
    classes = labels or sorted(mapped)
    if len(classes) < 2:
        found = f"only {classes[0]!r}" if classes else "no class"
        text = f"{found} is left after label_map; a classifier needs two classes"
        yield Problem("one-class", "error", text, "labels")


def apply_labels(
    utterances: Sequence[Utterance],
    labels: Sequence[str] | None = None,  # the classes in order; None for all that are left, sorted
    label_map: Mapping[str, str | None] | None = None,  # label of the corpus -> class, or None to leave it out
) -> tuple[list[Utterance], list[str]]:
    """Apply a recipe's `label_map` and `labels`: the utterances kept, with their class as label, and classes in order.

    Raises: CorpusError if a label is neither a class nor mapped, or a class has no utterance.
    """
    if faults := [problem.message for problem in label_faults(utterances, labels, label_map)]:
        more = [f"and {len(faults) - 10} more"] if len(faults) > 10 else []
        raise CorpusError("; ".join([*faults[:10], *more]))
    mapped = [(u, (label_map or {}).get(u.label, u.label)) for u in utterances]
    kept = [u if label == u.label else replace(u, label=label) for u, label in mapped if label is not None]
    return kept, sorted({u.label for u in kept}) if labels is None else list(labels)


def plain_name(name: str) -> str:
    r"""Reduce a name to what all its spellings share.

    >>> plain_name("Ana  Mar\u00eda") == plain_name("ana mari\u0301a\u200b"), plain_name("O\u2019Neil")
    (True, "o'neil")
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", plain_marks(name)).casefold())
    return "".join(c for c in text if not c.isspace() and unicodedata.category(c) != "Cf" and c not in VARIANTS) or name


def spellings(names: Iterable[str | None]) -> list[list[str]]:
    """Groups of names that are alike, each of two or more, the most frequent name first, then sorted."""
    alike: dict[str, list[str]] = {}
    counts = Counter(name for name in names if name is not None)
    for name in sorted(counts, key=lambda name: (-counts[name], name)):
        alike.setdefault(plain_name(name), []).append(name)
    return [group for group in alike.values() if len(group) > 1]


def join_names(utterances: Sequence[Utterance], columns: Iterable[str], known: Iterable[str] = ()) -> list[Utterance]:
    """Join names that are alike in columns of a whole corpus: spelled as a `known` label, else as most often."""
    written = {plain_name(name): name for name in known}
    utterances = list(utterances)
    for column in columns:
        groups = spellings([*(u.value(column) for u in utterances), *(known if column == "label" else ())])
        joined = {name: written.get(plain_name(name), group[0]) for group in groups for name in group}
        for index, u in enumerate(utterances):
            name = u.value(column)
            if joined.get(name, name) != name:
                changed = {column: joined[name]}
                utterances[index] = replace(u, **changed if column in COLUMNS else {"extra": {**u.extra, **changed}})
    return utterances


def alike_names(utterances: Sequence[Utterance], columns: Iterable[str]) -> list[Problem]:
    """A warning for each group of names that are alike in one of the columns."""
    return [
        Problem(f"alike-{column}", "warning", f"{column}: {listed(map(repr, group))} {ALIKE}; {REMEDY}", group[0])
        for column in columns
        for group in spellings(u.value(column) for u in utterances)
    ]
