"""Utterances that every system gets wrong with every seed."""

from collections import Counter
from types import SimpleNamespace

import numpy as np

from toolkit.report.evidence import Evidence
from toolkit.report.tables.formats import PERCENT_1, SECONDS
from toolkit.report.tables.table import Column, Table

SHOWN = 50


def hard_utterance_table(evidence: Evidence, protocol: str) -> Table:
    """Utterances that all systems were tested on and always got wrong; lowest probability of the true class first."""
    tested, found = evidence.tested(protocol), {}
    for system in tested:
        columns = (values.tolist() for values in vars(system.answers).values())
        for name, speaker, _, seconds, reference, predicted, probabilities in zip(*columns, strict=True):
            facts = {"speaker": speaker or None, "seconds": seconds if seconds > 0 else None, "reference": reference}
            u = found.setdefault(name, SimpleNamespace(id=name, **facts, predicted={}, given=[]))
            u.predicted.setdefault(system.name, []).append(predicted)
            u.given.append(probabilities[system.labels.index(reference)])
    of_all = [u for u in found.values() if len(u.predicted) == len(tested)]
    hard = [u for u in of_all if not any(u.reference in predicted for predicted in u.predicted.values())]
    given = lambda u: float(np.mean(u.given))  # noqa: E731
    hard.sort(key=lambda u: (given(u), u.id))
    columns = [
        Column("id", "utterance"),
        Column("speaker", "speaker"),
        Column("seconds", "seconds", SECONDS),
        Column("reference", "is"),
        Column("given", "its probability %", PERCENT_1, value=given),
    ]
    for name in (system.name for system in tested):
        answers = lambda u, name=name: _counts(u.predicted[name])  # noqa: E731
        columns.append(Column(f"said_{name}", name, group="answers", value=answers))
    shown = f"; {SHOWN} of them are shown, all are in tables/hard_utterances.csv" if len(hard) > SHOWN else ""
    notes = [
        f"{len(hard):,} of the {len(of_all):,} utterances that every system was tested on{shown}.",
        "Its probability: that of the true class, the mean over systems and seeds; the most confident errors first.",
    ]
    title = "Utterances that all systems get wrong with every seed"
    return Table("hard_utterances", title, columns, hard, tested, notes, SHOWN)


def _counts(answers: list[str]) -> str:
    """Each answer once, with its count where seeds differ.

    >>> _counts(["sad", "sad"]), _counts(["neu", "sad", "neu"])
    ('sad', 'neu 2, sad 1')
    """
    counts = Counter(answers).most_common()
    return counts[0][0] if len(counts) == 1 else ", ".join(f"{answer} {count}" for answer, count in counts)
