"""Accuracy by gender, by duration and by speaker. Imports no torch."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from toolkit.report.evidence import Answers, Evidence
from toolkit.report.tables.accuracy import GROUPS, INCOMPLETE, incomplete_note
from toolkit.report.tables.formats import COUNT, MARKED, PERCENT_1, TEXT, Marked
from toolkit.report.tables.table import Column, Table
from toolkit.statistics import METRICS, pooled_accuracies

MANY = 6  # systems that fit beside each other twice
THIRDS = ("short", "middle", "long")
GENDERS = {"F": "women", "M": "men"}


def gender_table(evidence: Evidence, protocol: str) -> Table | None:
    """Women and men; None where no utterance has a gender."""
    found = {str(g) for s in evidence.tested(protocol) for a in evidence.all_answers(s, protocol) for g in a.gender}
    genders = sorted(found - {""})
    if not genders:
        return None
    heads = {gender: GENDERS.get(gender, gender) for gender in genders}
    notes = _unknown_note("gender", "" in found)
    return _by_group(evidence, protocol, lambda a: a.gender, heads, "by_gender", "Accuracy by gender", notes)


def duration_table(evidence: Evidence, protocol: str) -> Table | None:
    """Thirds of the utterances by duration; None where no utterance has one, or (nearly) all last as long."""
    seconds = {
        name: duration
        for system in evidence.tested(protocol)
        for answers in evidence.all_answers(system, protocol)
        for name, duration in zip(answers.id.tolist(), answers.seconds.tolist(), strict=True)
        if duration > 0
    }
    if not seconds:
        return None
    names, (low, high) = thirds(list(seconds.values()))
    if len(set(names)) < 2:
        return None
    of = dict(zip(seconds, names, strict=True))
    heads = {"short": f"up to {low:.2f} s", "middle": f"{low:.2f} to {high:.2f} s", "long": f"over {high:.2f} s"}
    heads = {third: head for third, head in heads.items() if third in names}

    def third(answers: Answers) -> list[str]:
        return [of.get(name, "") for name in answers.id.tolist()]

    notes = ["A third of all test utterances each.", *_unknown_note("duration", _any_without(evidence, protocol, of))]
    return _by_group(evidence, protocol, third, heads, "by_duration", "Accuracy by duration", notes)


def thirds(seconds: Sequence[float]) -> tuple[list[str], tuple[float, float]]:
    """Split utterances into three groups of about equal size by their duration; equal durations stay together.

    Args:
        seconds: duration of each utterance.

    Returns:
        "short", "middle" or "long" for each utterance, and the two bounds, which belong to the shorter group.

    >>> thirds([1.0, 9.0, 2.0, 4.0, 5.0, 3.0, 7.0])
    (['short', 'long', 'short', 'middle', 'middle', 'short', 'long'], (3.0, 5.0))
    """
    bounds = np.quantile(seconds, [1 / 3, 2 / 3])
    return [THIRDS[i] for i in np.searchsorted(bounds, seconds)], tuple(bounds.tolist())


def speaker_tables(evidence: Evidence, protocol: str) -> list[Table]:
    """One row a speaker, systems in columns; one table for each metric where many systems would make it too wide.

    None where speakers have no names.
    """
    if not evidence.named_speakers(protocol):
        return []
    if len(evidence.tested(protocol)) <= MANY:
        return [_speaker_table(evidence, protocol, METRICS, "by_speaker", "Accuracy by speaker")]
    return [
        _speaker_table(evidence, protocol, [metric], f"by_speaker_{metric}", f"{metric.upper()} by speaker")
        for metric in METRICS
    ]


def _speaker_table(evidence: Evidence, protocol: str, metrics: Sequence[str], name: str, title: str) -> Table:
    speakers, systems = evidence.named_speakers(protocol), evidence.tested(protocol)
    columns = [Column("speaker", "speaker", TEXT), Column("n", "n", COUNT)]
    columns += [
        Column(f"{metric}_{system}", system, PERCENT_1, GROUPS[metric]) for metric in metrics for system in systems
    ]
    found = {system: evidence.confusions(system, protocol) for system in systems}
    rows = []
    for speaker in speakers:
        row: dict[str, Any] = {"speaker": speaker}
        for system, confusions in found.items():
            tested = speaker in confusions.speakers
            pooled = pooled_accuracies(confusions.of([speaker])) if tested else None
            row |= {f"{metric}_{system}": getattr(pooled, metric, None) for metric in metrics}
            row["n"] = pooled.n if pooled else row.get("n")
        rows.append(row)
    notes = ["n: utterances. UA is over the classes that the speaker has."]
    return Table(name, title, columns, rows, evidence.stamps(systems, [protocol]), notes)


def _by_group(
    evidence: Evidence,
    protocol: str,
    by: Callable[[Answers], Iterable[str]],
    heads: dict[str, str],
    name: str,
    title: str,
    notes: Sequence[str],
) -> Table:
    """A row for each system, and for each group n, WA and UA."""
    columns = [Column("system", "system", MARKED)]
    for group, head in heads.items():
        columns.append(Column(f"{group}_n", "n", COUNT, head))
        columns += [Column(f"{group}_{metric}", GROUPS[metric], PERCENT_1, head) for metric in METRICS]
    systems, rows = evidence.tested(protocol), []
    for system in systems:
        confusions = evidence.confusions(system, protocol, by)
        mark = "" if evidence.complete(system, protocol) else INCOMPLETE
        row: dict[str, Any] = {"system": Marked(system, mark)}
        for group in heads:
            there = group in confusions.speakers
            pooled = pooled_accuracies(confusions.of([group])) if there else None
            row[f"{group}_n"] = pooled.n if pooled else 0
            row |= {f"{group}_{metric}": getattr(pooled, metric, None) for metric in METRICS}
        rows.append(row)
    notes = [*notes, "n: utterances. Groups differ in their speakers and classes too.", *incomplete_note(rows)]
    return Table(name, title, columns, rows, evidence.stamps(systems, [protocol]), notes)


def _any_without(evidence: Evidence, protocol: str, of: dict[str, str]) -> bool:
    runs = (a for system in evidence.tested(protocol) for a in evidence.all_answers(system, protocol))
    return any(not np.isin(answers.id, list(of)).all() for answers in runs)


def _unknown_note(noun: str, some: bool) -> list[str]:
    return [f"Utterances without a {noun} are left out."] if some else []
