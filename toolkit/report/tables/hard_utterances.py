"""Utterances that every system gets wrong with every seed. Imports no torch."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from toolkit.corpus import Utterance
from toolkit.report.evidence import Evidence
from toolkit.report.tables.formats import AUDIO, LONG_TEXT, PERCENT_1, SECONDS, TEXT
from toolkit.report.tables.table import Column, Table

SHOWN = 50
MANY = 6  # systems that fit beside each other


def hard_utterance_table(evidence: Evidence, protocol: str) -> Table:
    """Utterances that all systems answered, always wrongly; those first whose true class had the least probability.

    Args:
        evidence: the experiment's.
        protocol: the one whose runs count.
    """
    systems = evidence.tested(protocol)
    said: dict[str, dict[str, list[str]]] = {}
    facts: dict[str, tuple] = {}
    given: dict[str, list[float]] = {}
    place = {label: column for column, label in enumerate(evidence.labels)}
    for system in systems:
        for answers in evidence.all_answers(system, protocol):
            of_reference = answers.probabilities[np.arange(len(answers.id)), [place[r] for r in answers.reference]]
            for row, name in enumerate(answers.id.tolist()):
                said.setdefault(name, {}).setdefault(system, []).append(str(answers.predicted[row]))
                given.setdefault(name, []).append(float(of_reference[row]))
                facts[name] = (answers.speaker[row], answers.reference[row], answers.seconds[row])
    hard = [
        name
        for name, by_system in said.items()
        if len(by_system) == len(systems) and not any(facts[name][1] in answers for answers in by_system.values())
    ]
    hard.sort(key=lambda name: (float(np.mean(given[name])), name))
    rows = []
    for name in hard:
        speaker, reference, seconds = facts[name]
        rows.append(
            {
                "id": name,
                "speaker": str(speaker) or None,
                "seconds": float(seconds) if seconds > 0 else None,
                "reference": str(reference),
                "given": float(np.mean(given[name])),
                **_answers(said[name], systems),
                "audio": audio_uri(evidence.utterances.get(name)),
            }
        )
    columns = [
        Column("id", "utterance"),
        Column("speaker", "speaker"),
        Column("seconds", "seconds", SECONDS),
        Column("reference", "is"),
        Column("given", "its probability %", PERCENT_1),
        *_answer_columns(systems),
    ]
    if any(row["audio"] for row in rows[:SHOWN]):
        columns.append(Column("audio", "listen", AUDIO))
    notes = [_counts_note(len(hard), sum(len(by_system) == len(systems) for by_system in said.values()))]
    notes.append(
        "Its probability: what the true class was given, the mean over systems and seeds; the surest errors first."
    )
    title = "Utterances that all systems get wrong with every seed"
    return Table("hard_utterances", title, columns, rows, evidence.stamps(systems, [protocol]), notes, shown=SHOWN)


def audio_uri(utterance: Utterance | None) -> str | None:
    """Where a player finds an utterance on this machine; None where its file is not there.

    A part of a file is a media fragment, `#t=start,end` in seconds.
    """
    if utterance is None or not Path(utterance.path).is_file():
        return None
    start, end = utterance.start, utterance.end
    if start is None and end is None:
        return utterance.path.as_uri()
    return f"{utterance.path.as_uri()}#t={start or 0:g}" + (f",{end:g}" if end is not None else "")


def _counts_note(hard: int, all_of_them: int) -> str:
    shown = f"; {SHOWN} of them are shown, all are in tables/hard_utterances.csv" if hard > SHOWN else ""
    return f"{hard:,} of the {all_of_them:,} utterances that every system was tested on{shown}."


def _answer_columns(systems: Sequence[str]) -> list[Column]:
    if len(systems) > MANY:
        return [Column("said", "answers", LONG_TEXT)]
    return [Column(f"said_{system}", system, TEXT, "answers") for system in systems]


def _answers(said: Mapping[str, list[str]], systems: Sequence[str]) -> dict[str, str]:
    """What each system said: a column each, or one for all where they are many.

    >>> _answers({"a": ["sad"], "b": ["neu"]}, ["a", "b"])
    {'said_a': 'sad', 'said_b': 'neu'}
    """
    found = {system: _counted(said[system]) for system in systems}
    if len(systems) <= MANY:
        return {f"said_{system}": text for system, text in found.items()}
    having: dict[str, list[str]] = {}
    for system, text in found.items():
        having.setdefault(text, []).append(system)
    return {"said": "; ".join(f"{text}: {', '.join(names)}" for text, names in having.items())}


def _counted(answers: list[str]) -> str:
    """What was said, each answer once, with its number where seeds differ.

    >>> _counted(["sad", "sad"]), _counted(["neu", "sad", "neu"])
    ('sad', 'neu 2, sad 1')
    """
    counts = Counter(answers).most_common()
    return counts[0][0] if len(counts) == 1 else ", ".join(f"{answer} {count}" for answer, count in counts)
