"""Utterances that every system gets wrong with every seed."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from toolkit.corpus import Utterance
from toolkit.report.evidence import Evidence, SystemRuns, stamps_of
from toolkit.report.tables.formats import AUDIO, LONG_TEXT, PERCENT_1, SECONDS
from toolkit.report.tables.table import Column, Table

SHOWN = 50
MAX_SYSTEMS = 6  # that fit side by side


@dataclass
class AnsweredUtterance:
    """A test utterance, as in `Answers`, with each run's predicted label and its probability of the true label."""

    id: str
    speaker: str
    reference: str
    seconds: float
    predicted: dict[str, list[str]] = field(default_factory=dict)  # by system
    probabilities: list[float] = field(default_factory=list)

    @property
    def given(self) -> float:
        """The mean of the probabilities."""
        return float(np.mean(self.probabilities))


def hard_utterance_table(evidence: Evidence, protocol: str) -> Table:
    """Utterances that all systems were tested on and always got wrong; lowest probability of the true class first."""
    tested = evidence.tested(protocol)
    of_all = [u for u in _utterances(tested) if len(u.predicted) == len(tested)]
    hard = [u for u in of_all if not any(u.reference in predicted for predicted in u.predicted.values())]
    hard.sort(key=lambda u: (u.given, u.id))
    columns = [
        Column("id", "utterance"),
        Column("speaker", "speaker", value=lambda u: u.speaker or None),
        Column("seconds", "seconds", SECONDS, value=lambda u: u.seconds if u.seconds > 0 else None),
        Column("reference", "is"),
        Column("given", "its probability %", PERCENT_1),
        *_answer_columns([system.name for system in tested]),
    ]
    audio = {u.id: audio_uri(evidence.utterances[u.id]) for u in hard}
    if any(audio[u.id] for u in hard[:SHOWN]):
        columns.append(Column("audio", "listen", AUDIO, value=lambda u: audio[u.id]))
    shown = f"; {SHOWN} of them are shown, all are in tables/hard_utterances.csv" if len(hard) > SHOWN else ""
    notes = [
        f"{len(hard):,} of the {len(of_all):,} utterances that every system was tested on{shown}.",
        "Its probability: that of the true class, the mean over systems and seeds; the most confident errors first.",
    ]
    title = "Utterances that all systems get wrong with every seed"
    return Table("hard_utterances", title, columns, hard, stamps_of(tested), notes, shown=SHOWN)


def audio_uri(utterance: Utterance) -> str | None:
    """The URI at which a player on this machine finds an utterance; None if its file is missing.

    A part of a file is a media fragment, `#t=start,end` in seconds.
    """
    if not os.path.isfile(utterance.path):
        return None
    start, end = f"{utterance.start or 0:g}", "" if utterance.end is None else f",{utterance.end:g}"
    part = "" if utterance.start is None and utterance.end is None else f"#t={start}{end}"
    return utterance.path.as_uri() + part


def _utterances(tested: Sequence[SystemRuns]) -> list[AnsweredUtterance]:
    found: dict[str, AnsweredUtterance] = {}
    for system in tested:
        a = system.answers
        facts = (x.tolist() for x in (a.id, a.speaker, a.reference, a.seconds, a.predicted, a.probabilities))
        for name, speaker, reference, seconds, predicted, probabilities in zip(*facts, strict=True):
            u = found.setdefault(name, AnsweredUtterance(name, speaker, reference, seconds))
            u.predicted.setdefault(system.name, []).append(predicted)
            u.probabilities.append(probabilities[system.labels.index(reference)])
    return list(found.values())


def _answer_columns(systems: Sequence[str]) -> list[Column]:
    """A column for each system, or one for all if there are many."""

    def by_answer(u: AnsweredUtterance) -> str:
        having: dict[str, list[str]] = {}
        for system in systems:
            having.setdefault(_counts(u.predicted[system]), []).append(system)
        return "; ".join(f"{text}: {', '.join(names)}" for text, names in having.items())

    if len(systems) > MAX_SYSTEMS:
        return [Column("said", "answers", LONG_TEXT, value=by_answer)]
    return [
        Column(f"said_{system}", system, group="answers", value=lambda u, system=system: _counts(u.predicted[system]))
        for system in systems
    ]


def _counts(answers: list[str]) -> str:
    """Each answer once, with its count where seeds differ.

    >>> _counts(["sad", "sad"]), _counts(["neu", "sad", "neu"])
    ('sad', 'neu 2, sad 1')
    """
    counts = Counter(answers).most_common()
    return counts[0][0] if len(counts) == 1 else ", ".join(f"{answer} {count}" for answer, count in counts)
