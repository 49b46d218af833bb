"""The systems: what each consists of."""

from collections.abc import Mapping, Sequence
from typing import Any

from toolkit.corpus.protocols import training_protocol
from toolkit.report.evidence import Evidence
from toolkit.report.tables.formats import CLOCK, COUNT, LONG_TEXT, NUMBER
from toolkit.report.tables.table import Column, Table


def systems_table(evidence: Evidence) -> Table:
    """What each system consists of, with the pre-trained weights of each level."""
    results = {
        system: [run.results for run in evidence.outcome.runs if run.system == system]
        for system in evidence.outcome.plan.systems
    }
    seconds: dict[str, list[float]] = {}
    for (system, *_), of_training in training_seconds(evidence).items():
        seconds.setdefault(system, []).append(of_training)

    def model(system: str) -> Mapping[str, Any]:
        return evidence.recipes[system]["model"]

    columns = [
        Column("system", "system", value=str),
        Column("levels", "levels (weights)", LONG_TEXT, value=lambda s: _levels(model(s), results[s])),
        Column("fusion", "fusion", value=lambda s: model(s)["fusion"]["plugin"]),
        Column("covariates", "covariates", LONG_TEXT, value=lambda s: _covariates(model(s)) or None),
        Column("heads", "heads", LONG_TEXT, value=lambda s: ", ".join(model(s)["heads"])),
        Column("losses", "losses", LONG_TEXT, value=lambda s: _losses(model(s))),
        Column("parameters", "parameters", COUNT, value=lambda s: results[s][0]["parameters"] if results[s] else None),
        Column("epoch", "tested epoch, mean", NUMBER, value=lambda s: _mean([r["epoch"] for r in results[s]])),
        Column("seconds", "time a training", CLOCK, value=lambda s: _mean(seconds.get(s, []))),
    ]
    return Table("systems", "The systems", columns, tuple(evidence.outcome.plan.systems), evidence.stamps())


def training_seconds(evidence: Evidence) -> dict[tuple, float]:
    """Seconds of each training, by (system, protocol, fold, seed); protocols that share a training count it once."""
    return {
        (run.system, training_protocol(run.protocol), run.fold, run.seed): run.results["seconds"]
        for run in evidence.outcome.runs
    }


def _levels(model: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> str:
    texts = []
    for level in model["levels"]:
        weights = dict.fromkeys(str(r["pretrained"].get(level) or "") for r in results)
        known = f" ({', '.join(weight or 'none' for weight in weights)})" if any(weights) else ""
        texts.append(f"{level}{known}")
    return ", ".join(texts)


def _covariates(model: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} ({spec['source']})" for name, spec in (model.get("covariates") or {}).items())


def _losses(model: Mapping[str, Any]) -> str:
    weights = {name: spec.get("weight", 1.0) for name, spec in model["losses"].items()}
    return ", ".join(name if weight == 1 else f"{name} ({weight:g})" for name, weight in weights.items())


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
