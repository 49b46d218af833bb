"""What was run, where and with what: facts, the systems, and the cells that are missing."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from toolkit.corpus.protocols import training_protocol
from toolkit.errors import counted, listed
from toolkit.report.evidence import Evidence
from toolkit.report.tables.differences import NOT_OF_THE_SYSTEM
from toolkit.report.tables.table import CLOCK, COUNT, LONG_TEXT, NUMBER, Column, Table
from toolkit.terminal import clock


def run_table(evidence: Evidence) -> Table:
    """What was run: one fact per row."""
    results, trained = [run.results for run in evidence.runs], _training_seconds(evidence).values()
    left_out = [f"by --systems: {', '.join(evidence.left_out)}"] if evidence.left_out else []
    failed = f", {len(evidence.failures)} failed" if evidence.failures else ""
    found = {
        "Baseline": evidence.baseline,
        "Corpus": ", ".join(dict.fromkeys(recipe["corpus"]["plugin"] for recipe in evidence.recipes.values())),
        "Classes": ", ".join(evidence.plan.labels),
        "Folds": "; ".join(f"{len(names)} of {p} ({', '.join(names)})" for p, names in evidence.plan.folds.items()),
        "Seeds": ", ".join(map(str, evidence.plan.seeds)),
        "Cells": f"{len(evidence.runs)} of {len(evidence.cells)} done{failed}",
        "Left out": "; ".join([*left_out, *evidence.changed]),
        "Training time": f"{clock(sum(trained))} in {counted(len(trained), 'training')}",
        "Hardware": "; ".join({f"{r.get('hardware') or r['device']}, {r['precision']}": None for r in results}),
        "Versions": "; ".join({", ".join(map(" ".join, r["versions"].items())): None for r in results}),
    }
    columns = [Column("fact", "fact", value=itemgetter(0)), Column("value", "value", LONG_TEXT, value=itemgetter(1))]
    return Table("run", "What was run", columns, filter(itemgetter(1), found.items()), evidence.tested())


def systems_table(evidence: Evidence) -> Table:
    """What each system consists of, with the pre-trained weights of each level."""
    model = {system: recipe["model"] for system, recipe in evidence.recipes.items()}
    results = {system: [run.results for run in evidence.runs if run.cell.system == system] for system in model}
    trained = _training_seconds(evidence).items()
    seconds = {system: [took for key, took in trained if key[0] == system] for system in model}
    sources = {s: [f"{name} ({spec['source']})" for name, spec in model[s]["covariates"].items()] for s in model}
    columns = [
        Column("system", "system", value=str),
        Column("levels", "levels (weights)", LONG_TEXT, value=lambda s: _levels(model[s], results[s])),
        Column("fusion", "fusion", value=lambda s: model[s]["fusion"]["plugin"]),
        Column("covariates", "covariates", LONG_TEXT, value=lambda s: ", ".join(sources[s]) or None),
        Column("heads", "heads", LONG_TEXT, value=lambda s: ", ".join(model[s]["heads"])),
        Column("losses", "losses", LONG_TEXT, value=lambda s: ", ".join(model[s]["losses"])),
        Column("parameters", "parameters", COUNT, value=lambda s: results[s][0]["parameters"] if results[s] else None),
        Column("epoch", "tested epoch, mean", NUMBER, value=lambda s: _mean([r["epoch"] for r in results[s]])),
        Column("seconds", "time per training", CLOCK, value=lambda s: _mean(seconds[s])),
    ]
    notes = _differing_settings(evidence.recipes, evidence.baseline)
    return Table("systems", "The systems", columns, evidence.plan.systems, evidence.tested(), notes)


def missing_table(evidence: Evidence) -> Table | None:
    """Cells that failed, then those that are not done, also if only other systems have them; None without any."""
    done = {run.cell.key for run in evidence.runs}
    if not (missing := [cell for cell in evidence.cells if cell.key not in done]):
        return None
    missing.sort(key=lambda cell: cell.key not in evidence.failures)
    columns = [
        *(Column(key, key) for key in ("system", "protocol", "fold")),
        Column("seed", "seed", value=lambda cell: str(cell.seed)),
        Column("state", "state", value=lambda cell: "failed" if cell.key in evidence.failures else "not done"),
        Column("error", "error", LONG_TEXT, value=lambda cell: evidence.failures.get(cell.key) or None),
    ]
    return Table("missing_cells", "Cells that failed or are not done", columns, missing, evidence.tested(), shown=100)


def _differing_settings(recipes: Mapping[str, Mapping[str, Any]], baseline: str) -> list[str]:
    """For each other system, a sentence with the keys of its recipe that differ from the baseline's."""
    notes = []
    for system in (name for name in recipes if name != baseline):
        keys = [key for key in _differing_keys(recipes[baseline], recipes[system]) if key != "corpus.args.path"]
        keys = [key for key in keys if key.partition(".")[0] not in NOT_OF_THE_SYSTEM]
        differs = f"differs from {baseline} in: {listed(keys)}" if keys else f"has the same settings as {baseline}"
        notes.append(f"{system} {differs}.")
    return notes


def _differing_keys(one: Any, other: Any, path: str = "") -> list[str]:
    """The dotted keys at which two nested mappings differ, whole parts that only one has as one key."""
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        return [] if one == other else [path]
    keys = [(key, f"{path}.{key}".lstrip(".")) for key in {**one, **other}]
    return [found for key, name in keys for found in _differing_keys(one.get(key), other.get(key), name)]


def _training_seconds(evidence: Evidence) -> dict[tuple, float]:
    """Seconds of each training, by (system, protocol, fold, seed); protocols that share a training count it once."""
    return {
        (run.cell.system, training_protocol(run.cell.protocol), run.cell.fold, run.cell.seed): run.results["seconds"]
        for run in evidence.runs
    }


def _levels(model: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> str:
    weights = results[0]["pretrained"] if results else {}
    return ", ".join(f"{level} ({weights[level]})" if weights.get(level) else level for level in model["levels"])


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
