"""Is a covariate's gain real: the same system without it, with it given, predicted and shuffled. Imports no torch."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from toolkit.report.evidence import Evidence
from toolkit.report.tables.accuracy import (
    GROUPS,
    compared,
    comparison_cells,
    comparison_notes,
)
from toolkit.report.tables.formats import P_VALUE, PERCENT, POINTS, POINTS_INTERVAL, TEXT
from toolkit.report.tables.table import Column, Table
from toolkit.statistics import METRICS, holm, pooled_accuracies

WITHOUT = "without"
SOURCES = (WITHOUT, "label", "predicted", "shuffled")
OF_NO_SYSTEM = ("name", "published", "fold", "seed", "protocol", "output_folder", "data_folder")


def covariates(evidence: Evidence) -> list[str]:
    """The covariates that any system of the experiment reads."""
    recipes = evidence.recipes.values()
    return list(dict.fromkeys(name for recipe in recipes for name in recipe["model"].get("covariates") or {}))


def covariate_families(evidence: Evidence, covariate: str) -> list[dict[str, str]]:
    """Systems that differ in one covariate alone.

    Returns:
        For each family of two or more: system -> the covariate's source, in the order of `SOURCES`.
    """
    found: dict[str, dict[str, str]] = {}
    for system, recipe in evidence.recipes.items():
        found.setdefault(_all_but(recipe, covariate), {})[system] = _source(recipe, covariate)
    families = [family for family in found.values() if len(family) > 1]
    order = {source: place for place, source in enumerate(SOURCES)}
    return [dict(sorted(f.items(), key=lambda item: order.get(item[1], len(order)))) for f in families]


def covariate_table(evidence: Evidence, covariate: str, protocol: str) -> Table | None:
    """The systems of all families of a covariate; each is compared with the first of its family.

    Returns:
        The table, or None where no two systems differ in the covariate alone.
    """
    families = covariate_families(evidence, covariate)
    if not families:
        return None
    found = [c for family in families for c in compared(evidence, list(family), protocol)]
    corrected = holm([c.p for c in found])
    found = [replace(c, p_corrected=p) for c, p in zip(found, corrected, strict=True)]
    rows = []
    for family in families:
        first = next(iter(family))
        for system, source in family.items():
            row: dict[str, Any] = {"system": system, "source": source, "against": None if system == first else first}
            confusions = evidence.confusions(system, protocol)
            pooled = pooled_accuracies(confusions.counts) if confusions else None
            of_system = {c.metric: c for c in found if (c.system, c.baseline) == (system, first)}
            for metric in METRICS:
                row[metric] = getattr(pooled, metric, None)
                row |= comparison_cells(of_system.get(metric), metric)
                if system == first:
                    row[f"{metric}_verdict"] = None
            rows.append(row)
    columns = [Column("system", "system", TEXT), Column("source", covariate, TEXT), Column("against", "against", TEXT)]
    for metric in METRICS:
        group = GROUPS[metric]
        columns += [
            Column(metric, "pooled", PERCENT, group),
            Column(f"{metric}_difference", "points", POINTS, group),
            Column(f"{metric}_interval", "95 % interval", POINTS_INTERVAL, group),
            Column(f"{metric}_p", "p", P_VALUE, group),
            Column(f"{metric}_verdict", "verdict", TEXT, group),
        ]
    systems = [system for family in families for system in family]
    notes = [
        f"Label: the true {covariate} is given, at the test too. Predicted: guessed from the audio. Shuffled: drawn at "
        "random, the control; a gain that it has too is none of the covariate's.",
        *comparison_notes(found),
    ]
    missing = [system for system in systems if not evidence.complete(system, protocol)]
    if missing:
        notes.append(f"Not all cells are done of {', '.join(missing)}.")
    title = f"Systems that differ in {covariate} alone"
    return Table(f"covariate_{covariate}", title, columns, rows, evidence.stamps(systems, [protocol]), notes)


def _all_but(recipe: Mapping[str, Any], covariate: str) -> str:
    """What tells a system from others, but for one covariate."""
    others = {name: spec for name, spec in (recipe["model"].get("covariates") or {}).items() if name != covariate}
    rest = {key: value for key, value in recipe.items() if key not in OF_NO_SYSTEM}
    return json.dumps({**rest, "model": {**recipe["model"], "covariates": others}}, sort_keys=True)


def _source(recipe: Mapping[str, Any], covariate: str) -> str:
    spec = (recipe["model"].get("covariates") or {}).get(covariate)
    return spec["source"] if spec else WITHOUT
