"""Whether a covariate's gain is real: the same system without it, with it given, predicted and shuffled."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from toolkit.report.evidence import Evidence, stamps_of
from toolkit.report.tables.differences import Difference, by_metric, compared, comparison_notes, difference_columns
from toolkit.report.tables.formats import PERCENT
from toolkit.report.tables.table import Column, Table, percent
from toolkit.statistics.comparison import holm
from toolkit.statistics.metrics import METRICS

WITHOUT = "without"
SOURCES = (WITHOUT, "label", "predicted", "shuffled")
NOT_OF_THE_SYSTEM = ("name", "published", "fold", "seed", "protocol", "output_folder", "data_folder")


def covariates(evidence: Evidence) -> list[str]:
    """The covariates that any system of the experiment reads."""
    recipes = evidence.recipes.values()
    return list(dict.fromkeys(name for recipe in recipes for name in recipe["model"].get("covariates") or {}))


def covariate_families(evidence: Evidence, covariate: str) -> list[dict[str, str]]:
    """Systems that differ in one covariate alone: system -> its source, in the order of `SOURCES`, for each family."""
    found: dict[str, dict[str, str]] = {}
    for system, recipe in evidence.recipes.items():
        source = (recipe["model"].get("covariates") or {}).get(covariate, {}).get("source", WITHOUT)
        found.setdefault(_all_but(recipe, covariate), {})[system] = source
    return [
        dict(sorted(family.items(), key=lambda item: SOURCES.index(item[1])))
        for family in found.values()
        if len(family) > 1
    ]


def covariate_table(evidence: Evidence, covariate: str, protocol: str) -> Table | None:
    """All families of a covariate, each system compared with the first of its family; None without a family."""
    families = covariate_families(evidence, covariate)
    if not families:
        return None
    found = [c for family in families for c in compared(evidence.all_of(family, protocol))]
    corrected = holm([c.p for c in found])
    found = [replace(c, p_corrected=p) for c, p in zip(found, corrected, strict=True)]
    rows = []
    for family in families:
        first, *others = evidence.all_of(family, protocol)
        of_family = [c for c in found if c.baseline == first.system]
        rows.append(Difference(first, None, {}))
        rows += [Difference(other, first, by_metric(of_family, other.system)) for other in others]
    source = {system: source for family in families for system, source in family.items()}
    columns = [
        Column("system", "system", value=lambda row: row.tested.system),
        Column("source", covariate, value=lambda row: source[row.tested.system]),
        Column("against", "against", value=lambda row: row.against and row.against.system),
    ]
    for metric in METRICS:
        pooled = lambda row, metric=metric: getattr(row.tested.pooled, metric, None)  # noqa: E731
        columns.append(Column(metric, "pooled", PERCENT, percent(metric), pooled))
        columns += difference_columns(metric, percent(metric), title="points")
    notes = [
        f"Label: the true {covariate} is given, in the test too. Predicted: predicted from the audio. Shuffled: drawn "
        "at random, the control; a gain that it shows too does not come from the covariate.",
        *comparison_notes(found),
    ]
    missing = [row.tested.system for row in rows if not row.tested.complete]
    if missing:
        notes.append(f"Not all cells are done of {', '.join(missing)}.")
    title = f"Systems that differ in {covariate} alone"
    return Table(f"covariate_{covariate}", title, columns, rows, stamps_of(row.tested for row in rows), notes)


def _all_but(recipe: Mapping[str, Any], covariate: str) -> str:
    """All that makes a system, but for one covariate."""
    others = {name: spec for name, spec in (recipe["model"].get("covariates") or {}).items() if name != covariate}
    rest = {key: value for key, value in recipe.items() if key not in NOT_OF_THE_SYSTEM}
    return json.dumps({**rest, "model": {**recipe["model"], "covariates": others}}, sort_keys=True)
