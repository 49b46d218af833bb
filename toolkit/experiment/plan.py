"""An experiment's plan, its systems and cells, and the file that keeps it."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from toolkit.errors import ExperimentError, counted
from toolkit.experiment.cells import Cell

PLAN = "experiment.json"
VERSION = 1


@dataclass(frozen=True)
class PlannedSystem:
    """A recipe that is part of an experiment.

    Args:
        fingerprint: hash of its settings, its data and the code of its plugins.
        recipe: resolved, plain.
        data_folder: where the corpus is; None where it makes its own.
        reduced: whether the recipe's `without_data` settings replace its own.
    """

    fingerprint: str
    recipe: Mapping[str, Any]
    data_folder: str | None
    reduced: bool


@dataclass(frozen=True)
class Plan:
    """An experiment: all its cells, in the order in which they are run.

    Args:
        systems: name -> its recipe; the first one is the baseline.
        protocols: names, in order.
        folds: protocol -> names of the planned folds, in the protocol's order.
        seeds: in order.
        labels: the classes, the same for all systems.
        corpus: hash of ids, labels and speakers, the same for all systems.
        cells: every one.
    """

    systems: Mapping[str, PlannedSystem]
    protocols: tuple[str, ...]
    folds: Mapping[str, tuple[str, ...]]
    seeds: tuple[int, ...]
    labels: tuple[str, ...]
    corpus: str
    cells: tuple[Cell, ...]


def merged(old: Plan | None, new: Plan) -> tuple[Plan, list[str]]:
    """Add a plan to what its folder holds.

    Cells whose system has changed since, in its settings, data or code, are left out: a table never mixes them.

    Returns:
        The plan of both, and lines that say what was left out.

    Raises:
        ExperimentError: if the two are of different data or labels.
    """
    if old is None:
        return new, []
    if (old.corpus, old.labels) != (new.corpus, new.labels):
        raise ExperimentError(
            "This folder holds an experiment on other utterances or labels: choose another --output for this one."
        )
    systems = {**old.systems, **new.systems}
    places = {cell.place for cell in new.cells}
    kept, left = [], {}
    for cell in old.cells:
        if cell.fingerprint != systems[cell.system].fingerprint:
            left[cell.system] = left.get(cell.system, 0) + 1
        elif cell.place not in places:
            kept.append(cell)
    said = [
        f"{system}: the tables leave out {counted(count, 'cell')} with other settings or code; runs/ keeps what was run"
        for system, count in left.items()
    ]
    folds = {
        protocol: tuple(dict.fromkeys((*old.folds.get(protocol, ()), *new.folds.get(protocol, ()))))
        for protocol in dict.fromkeys((*old.protocols, *new.protocols))
    }
    seeds = tuple(dict.fromkeys((*old.seeds, *new.seeds)))
    cells = (*kept, *new.cells)
    return replace(new, systems=systems, protocols=tuple(folds), folds=folds, seeds=seeds, cells=cells), said


def write_plan(folder: Path, plan: Plan) -> None:
    """Write a plan to its folder, whole or not at all."""
    path = Path(folder) / PLAN
    partial = path.with_name(f".{PLAN}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps({"version": VERSION, **asdict(plan)}, indent=1) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise ExperimentError(f"{path} cannot be written ({error.strerror}): choose another --output.") from error


def read_plan(folder: Path) -> Plan | None:
    """The plan that a folder holds, None where it holds none.

    Raises:
        ExperimentError: if it is damaged or of another version.
    """
    path = Path(folder) / PLAN
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        version = values.pop("version")
        if version != VERSION:
            raise ExperimentError(f"{path} is of version {version}; this toolkit reads version {VERSION}.")
        return Plan(
            systems={name: PlannedSystem(**system) for name, system in values["systems"].items()},
            protocols=tuple(values["protocols"]),
            folds={protocol: tuple(folds) for protocol, folds in values["folds"].items()},
            seeds=tuple(values["seeds"]),
            labels=tuple(values["labels"]),
            corpus=values["corpus"],
            cells=tuple(Cell(**cell) for cell in values["cells"]),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ExperimentError(
            f"{path} is damaged ({error}): delete it and give the command again; finished cells are kept."
        ) from None
