"""Accuracy by gender, by duration and by speaker."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from toolkit.report.evidence import Evidence, SystemRuns, stamps_of
from toolkit.report.tables.formats import COUNT, PERCENT_1
from toolkit.report.tables.table import SYSTEM, Column, Table, accuracy_column, incomplete_note, percent
from toolkit.statistics.metrics import METRICS, accuracies_of
from toolkit.training.predictions import Answers

MAX_SYSTEMS = 6  # that fit side by side twice
THIRDS = ("short", "middle", "long")
GENDERS = {"F": "women", "M": "men"}


def gender_table(tested: Sequence[SystemRuns]) -> Table | None:
    """Accuracy of women and men; None if no utterance has a gender."""
    found = {gender for system in tested for gender in system.answers.gender.tolist()}
    if not (titles := {gender: GENDERS.get(gender, gender) for gender in sorted(found - {""})}):
        return None
    notes = ["Utterances without a gender are left out."] if "" in found else []
    return _by_group(tested, lambda a: a.gender, titles, "by_gender", "Accuracy by gender", notes)


def duration_table(tested: Sequence[SystemRuns]) -> Table | None:
    """Accuracy in thirds by duration; None if no utterance has one, or (nearly) all last equally long."""
    answers = [system.answers for system in tested]
    seconds = dict(pair for a in answers for pair in zip(a.id.tolist(), a.seconds.tolist(), strict=True))
    known = {name: duration for name, duration in seconds.items() if duration > 0}
    names, (low, high) = thirds(list(known.values())) if known else ([], (0, 0))
    if len(set(names)) < 2:
        return None
    third = dict(zip(known, names, strict=True))
    titles = {"short": f"up to {low:.2f} s", "middle": f"{low:.2f} to {high:.2f} s", "long": f"over {high:.2f} s"}
    titles = {name: title for name, title in titles.items() if name in names}
    notes = ["Thirds of all test utterances, except that those that last equally long stay together."]
    notes += ["Utterances without a duration are left out."] if len(known) < len(seconds) else []

    def group(answers: Answers) -> list[str]:
        return [third.get(name, "") for name in answers.id.tolist()]

    return _by_group(tested, group, titles, "by_duration", "Accuracy by duration", notes)


def thirds(seconds: Sequence[float]) -> tuple[list[str], tuple[float, float]]:
    """Split utterances into three groups of about equal size by their duration; equal durations stay together.

    Returns: "short", "middle" or "long" for each utterance, and the two bounds, which belong to the shorter group.

    >>> thirds([1.0, 9.0, 2.0, 4.0, 5.0, 3.0, 7.0])
    (['short', 'long', 'short', 'middle', 'middle', 'short', 'long'], (3.0, 5.0))
    """
    bounds = np.quantile(seconds, [1 / 3, 2 / 3])
    return [THIRDS[i] for i in np.searchsorted(bounds, seconds)], tuple(bounds.tolist())


def speaker_tables(evidence: Evidence, protocol: str) -> list[Table]:
    """One row per speaker, systems in columns; one table per metric where many systems would make it too wide.

    Empty if speakers have no names.
    """
    if not evidence.speakers(protocol):
        return []
    if len(evidence.tested(protocol)) <= MAX_SYSTEMS:
        return [_speaker_table(evidence, protocol, METRICS, "by_speaker", "Accuracy by speaker")]
    return [_speaker_table(evidence, protocol, [m], f"by_speaker_{m}", f"{m.upper()} by speaker") for m in METRICS]


def _speaker_table(evidence: Evidence, protocol: str, metrics: Sequence[str], name: str, title: str) -> Table:
    tested = evidence.tested(protocol)
    found = {system.name: accuracies_of(system.confusions) for system in tested}
    columns = [
        Column("speaker", "speaker", value=str),
        Column("n", "n", COUNT, value=lambda speaker: max(a[speaker].n for a in found.values() if speaker in a)),
    ]
    for metric in metrics:
        columns += [accuracy_column(metric, system, PERCENT_1, accuracies.get) for system, accuracies in found.items()]
    notes = ["n: utterances, of the system with most. UA is over the classes that the speaker has."]
    return Table(name, title, columns, evidence.speakers(protocol), stamps_of(tested), notes)


def _by_group(
    tested: Sequence[SystemRuns],
    group: Callable[[Answers], Iterable[str]],
    titles: Mapping[str, str],
    name: str,
    title: str,
    notes: Sequence[str],
) -> Table:
    """A row for each system, with n, WA and UA of each group."""
    found = {system.name: accuracies_of(system.confusions_by(group)) for system in tested}

    def value(key: str, figure: str, default: int | None = None) -> Callable[[SystemRuns], float | None]:
        return lambda row: getattr(found[row.name].get(key), figure, default)

    columns = [SYSTEM]
    for key, heading in titles.items():
        columns.append(Column(f"{key}_n", "n", COUNT, heading, value(key, "n", 0)))
        columns += [Column(f"{key}_{m}", percent(m), PERCENT_1, heading, value(key, m)) for m in METRICS]
    notes = [*notes, "n: utterances. Groups also differ in their speakers and classes.", *incomplete_note(tested)]
    return Table(name, title, columns, tested, stamps_of(tested), notes)
