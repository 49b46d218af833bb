"""What was run, where and with what; which cells are missing. Imports no torch."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from toolkit.corpus.protocols import training_protocol
from toolkit.report.evidence import Evidence
from toolkit.report.tables.formats import CLOCK, COUNT, LONG_TEXT, NUMBER, TEXT, clock
from toolkit.report.tables.table import Column, Table


def facts(evidence: Evidence) -> list[tuple[str, str]]:
    """What was run, as pairs of a name and a text."""
    outcome = evidence.outcome
    results = [run.results for run in outcome.runs]
    trained = _trainings(evidence)
    corpora = list(dict.fromkeys(recipe["corpus"]["plugin"] for recipe in evidence.recipes.values()))
    versions = {
        name: _counted(r["versions"].get(name, "none") for r in results)
        for name in dict.fromkeys(name for r in results for name in r["versions"])
    }
    found = {
        "Baseline": outcome.baseline,
        "Corpus": ", ".join(corpora),
        "Classes": ", ".join(outcome.labels),
        "Protocols": ", ".join(outcome.protocols),
        "Folds": "; ".join(_folds(outcome.folds)),
        "Seeds": ", ".join(map(str, outcome.seeds)),
        "Cells": _cells(evidence),
        "Training time": f"{clock(sum(trained.values()))} in {len(trained)} trainings, all epochs added up",
        "Hardware": _counted(r.get("hardware") or r["device"] for r in results),
        "Computing": _counted(_computing(r) for r in results),
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }
    return [(name, text) for name, text in found.items() if text]


def systems_table(evidence: Evidence) -> Table:
    """What each system consists of, with the pre-trained weights of each level."""
    columns = [
        Column("system", "system"),
        Column("levels", "levels (weights)", LONG_TEXT),
        Column("fusion", "fusion"),
        Column("covariates", "covariates", LONG_TEXT),
        Column("heads", "heads", LONG_TEXT),
        Column("losses", "losses", LONG_TEXT),
        Column("parameters", "parameters", COUNT),
        Column("epoch", "tested epoch, mean", NUMBER),
        Column("seconds", "time a training", CLOCK),
    ]
    trained = _trainings(evidence)
    rows = []
    for system in evidence.outcome.systems:
        model = evidence.recipes[system]["model"]
        results = [run.results for run in evidence.outcome.runs if run.system == system]
        times = [seconds for (name, *_), seconds in trained.items() if name == system]
        rows.append(
            {
                "system": system,
                "levels": ", ".join(_level(name, results) for name in model["levels"]),
                "fusion": model["fusion"]["plugin"],
                "covariates": ", ".join(f"{n} ({s['source']})" for n, s in (model.get("covariates") or {}).items())
                or None,
                "heads": ", ".join(model["heads"]),
                "losses": ", ".join(_loss(name, spec) for name, spec in model["losses"].items()),
                "parameters": results[0]["parameters"] if results else None,
                "epoch": sum(r["epoch"] for r in results) / len(results) if results else None,
                "seconds": sum(times) / len(times) if times else None,
            }
        )
    return Table("systems", "The systems", columns, rows, evidence.stamps())


def missing_table(evidence: Evidence) -> Table | None:
    """Cells that failed or are not done; None where all are done."""
    outcome = evidence.outcome
    done = {(run.system, run.protocol, run.fold, run.seed) for run in outcome.runs}
    rows = [
        {
            "system": cell.system,
            "protocol": cell.protocol,
            "fold": cell.fold,
            "seed": str(cell.seed),
            "state": "failed" if cell.key in outcome.failures else "not done",
            "error": outcome.failures.get(cell.key) or None,
        }
        for cell in outcome.planned
        if cell.key not in done
    ]
    if not rows:
        return None
    rows.sort(key=lambda row: row["state"])  # failed ones first, each in the plan's order
    columns = [Column(key, key, TEXT) for key in ("system", "protocol", "fold", "seed", "state")]
    columns.append(Column("error", "error", LONG_TEXT))
    return Table("missing_cells", "Cells that failed or are not done", columns, rows, evidence.stamps(), shown=100)


def _trainings(evidence: Evidence) -> dict[tuple, float]:
    """Seconds of each training; protocols that are read from one count it once."""
    found: dict[tuple, float] = {}
    for run in evidence.outcome.runs:
        found[run.system, training_protocol(run.protocol), run.fold, run.seed] = run.results["seconds"]
    return found


def _cells(evidence: Evidence) -> str:
    outcome = evidence.outcome
    done, planned, failed = len(outcome.runs), len(outcome.planned), len(outcome.failures)
    text = f"{done} of {planned} done"
    return f"{text}, {failed} failed" if failed else text


def _folds(folds: Mapping[str, Sequence[str]]) -> list[str]:
    """The folds of each protocol; said once for protocols that have the same ones.

    >>> _folds({"loso": ("1M", "1F"), "loso-test-epoch": ("1M", "1F"), "session-out": ("1",)})
    ['2 of loso, loso-test-epoch (1M, 1F)', '1 of session-out (1)']
    """
    having: dict[tuple[str, ...], list[str]] = {}
    for protocol, names in folds.items():
        having.setdefault(tuple(names), []).append(protocol)
    return [f"{len(names)} of {', '.join(of)} ({', '.join(names)})" for names, of in having.items()]


def _computing(results: Mapping[str, Any]) -> str:
    threads = results.get("threads")
    said = f", {threads} thread{'s' if threads > 1 else ''}" if threads else ""
    return f"{results['device']}, {results['precision']}{said}"


def _counted(values: Iterable[str]) -> str:
    """Each value once; where there are several, with how many runs have it."""
    counts = Counter(values)
    if len(counts) == 1:
        return next(iter(counts))
    return "; ".join(f"{value} ({count} runs)" for value, count in sorted(counts.items()))


def _level(name: str, results: Sequence[Mapping[str, Any]]) -> str:
    weights = list(dict.fromkeys(str(r["pretrained"].get(name) or "") for r in results))
    known = ", ".join(weight or "none" for weight in weights)
    return name if not any(weights) else f"{name} ({known})"


def _loss(name: str, spec: Mapping[str, Any]) -> str:
    weight = spec.get("weight", 1.0)
    return name if weight == 1 else f"{name} ({weight:g})"
