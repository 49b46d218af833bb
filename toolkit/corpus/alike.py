"""Names that differ only in case, in spaces or in Unicode form: perhaps two spellings of one speaker or label."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from toolkit.corpus.utterance import COLUMNS, Problem, Utterance, plain_marks
from toolkit.errors import listed

ALIKE = "differ only in case, spaces or Unicode form"
VARIANTS = "\ufe0e\ufe0f"  # variation selectors: a symbol as text or in colour
REMEDY = "--normalize true joins them, --normalize false keeps them apart"


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
    """Join names that are alike in columns of a whole corpus: spelled as a `known` label, else as most often.

    >>> pair = [Utterance(id=str(i), path="a.wav", label=x) for i, x in enumerate(["Hap", "hap "])]
    >>> [u.label for u in join_names(pair, ["label"], ["hap"])]
    ['hap', 'hap']
    """
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
