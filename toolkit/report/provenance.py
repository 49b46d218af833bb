"""What was run, where and with what."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from toolkit.errors import counted
from toolkit.experiment.outcome import Outcome
from toolkit.report.evidence import Evidence
from toolkit.report.tables.formats import clock
from toolkit.report.tables.systems import training_seconds


def facts(evidence: Evidence) -> list[tuple[str, str]]:
    """What was run, as pairs of a name and a text."""
    outcome = evidence.outcome
    results = [run.results for run in outcome.runs]
    trained = training_seconds(evidence)
    versions = {
        name: _each_once(r["versions"].get(name, "none") for r in results)
        for name in dict.fromkeys(name for r in results for name in r["versions"])
    }
    found = {
        "Baseline": outcome.baseline,
        "Corpus": ", ".join(dict.fromkeys(recipe["corpus"]["plugin"] for recipe in evidence.recipes.values())),
        "Classes": ", ".join(outcome.plan.labels),
        "Protocols": ", ".join(outcome.plan.protocols),
        "Folds": "; ".join(_folds(outcome.plan.folds)),
        "Seeds": ", ".join(map(str, outcome.plan.seeds)),
        "Cells": _cells(outcome),
        "Training time": f"{clock(sum(trained.values()))} in {len(trained)} trainings, sum over all epochs",
        "Hardware": _each_once(r.get("hardware") or r["device"] for r in results),
        "Computing": _each_once(map(_computing, results)),
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }
    return [(name, text) for name, text in found.items() if text]


def _cells(outcome: Outcome) -> str:
    text = f"{len(outcome.runs)} of {len(outcome.plan.cells)} done"
    return f"{text}, {len(outcome.failures)} failed" if outcome.failures else text


def _folds(folds: Mapping[str, Sequence[str]]) -> list[str]:
    """The folds of each protocol; protocols with the same folds share an entry.

    >>> _folds({"loso": ("1M", "1F"), "loso-test-epoch": ("1M", "1F"), "session-out": ("1",)})
    ['2 of loso, loso-test-epoch (1M, 1F)', '1 of session-out (1)']
    """
    having: dict[tuple[str, ...], list[str]] = {}
    for protocol, names in folds.items():
        having.setdefault(tuple(names), []).append(protocol)
    return [f"{len(names)} of {', '.join(of)} ({', '.join(names)})" for names, of in having.items()]


def _computing(results: Mapping[str, Any]) -> str:
    threads = f", {counted(results['threads'], 'thread')}" if results.get("threads") else ""
    return f"{results['device']}, {results['precision']}{threads}"


def _each_once(values: Iterable[str]) -> str:
    """Each value once; where there are several, with how many runs have it."""
    counts = Counter(values)
    if len(counts) == 1:
        return next(iter(counts))
    return "; ".join(f"{value} ({count} runs)" for value, count in sorted(counts.items()))
