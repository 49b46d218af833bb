"""An experiment's plan: its systems, its cells, and its file."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, field, replace
from pathlib import Path
from typing import Any

from toolkit.errors import ExperimentError, RecipeError, counted, one_line
from toolkit.files import read_json, write_whole
from toolkit.recipe.loading import read_recipe_dict
from toolkit.recipe.reading import read_plain

PLAN = "experiment.json"
VERSION = 1


@dataclass(frozen=True)
class Cell:
    """One system under one protocol, on one fold, with one seed; a run fills it.

    >>> Cell("ser", "loso", "a/b", 1, "1a2b3c4d").name
    'ser-loso-a_b-seed1-fa4820ac'
    """

    system: str  # the recipe's name
    protocol: str  # a name in `toolkit.corpus.protocols.PROTOCOLS`
    fold: str
    seed: int
    fingerprint: str  # eight hexadecimal digits of all other settings, data and code that can change the result

    @property
    def name(self) -> str:
        """The name of the cell's files: readable, and unique through a hash of all values."""
        readable = re.sub(r"[^\w.+-]", "_", "-".join(map(str, self.key[:3])), flags=re.ASCII)
        digest = hashlib.sha256(json.dumps(astuple(self)).encode()).hexdigest()
        return f"{readable[:150]}-seed{self.seed}-{digest[:8]}"

    @property
    def key(self) -> tuple[str, str, str, int]:
        """System, protocol, fold and seed: one cell of a plan, whatever its settings."""
        return self.system, self.protocol, self.fold, self.seed


@dataclass(frozen=True)
class PlannedSystem:
    """A recipe that is part of an experiment."""

    fingerprint: str  # hash of its settings, its data and its plugins' code
    recipe: Mapping[str, Any]  # resolved, plain
    data_folder: str | None  # where the corpus is; None if it makes its own
    reduced: bool  # whether the recipe's `without_data` settings replace its own


@dataclass(frozen=True)
class Plan:
    """An experiment: labels, corpus and splits are the same for all systems."""

    systems: Mapping[str, PlannedSystem]  # name -> its recipe; the first one is the baseline
    folds: Mapping[str, tuple[str, ...]]  # protocol, in order -> names of the planned folds, in the protocol's order
    seeds: tuple[int, ...]
    labels: tuple[str, ...]  # the classes
    corpus: str  # hash of ids, labels and speakers
    cells: tuple[Cell, ...]  # in the order in which they are run
    splits: Mapping[str, str] = field(default_factory=dict)  # protocol -> hash of the parts of all its folds


def merged(old: Plan | None, new: Plan) -> tuple[Plan, list[str]]:
    """Add a plan to the one that its folder holds.

    Cells whose system has changed since, in its settings, data or code, are left out: no table mixes the two.

    Returns: the plan of both, and a line for each system with cells that were left out.
    Raises: ExperimentError if the two have different data, labels or splits.
    """
    if old is None:
        return new, []
    if (old.corpus, old.labels) != (new.corpus, new.labels):
        raise ExperimentError(
            "This folder holds an experiment on other utterances or labels: choose another --output for this one."
        )
    for protocol in old.splits.keys() & new.splits.keys():
        if old.splits[protocol] != new.splits[protocol]:
            raise ExperimentError(f"This folder holds other folds of {protocol!r}: choose another --output for these.")
    systems, keys = {**old.systems, **new.systems}, {cell.key for cell in new.cells}
    changed = [cell.system for cell in old.cells if cell.fingerprint != systems[cell.system].fingerprint]
    left_out = [
        f"{system}: the tables leave out {counted(count, 'cell')} with other settings or code; runs/ keeps their runs"
        for system, count in Counter(changed).items()
    ]
    kept = [cell for cell in old.cells if cell.system not in changed and cell.key not in keys]
    names, seeds = {**old.folds, **new.folds}, tuple(dict.fromkeys((*old.seeds, *new.seeds)))
    folds = {name: tuple(dict.fromkeys((*old.folds.get(name, ()), *new.folds.get(name, ())))) for name in names}
    splits = {**old.splits, **new.splits}
    return Plan(systems, folds, seeds, new.labels, new.corpus, (*kept, *new.cells), splits), left_out


def write_plan(folder: Path, plan: Plan) -> None:
    """Write a plan to its folder, whole or not at all."""
    text = json.dumps({"version": VERSION, **asdict(plan)}, indent=1) + "\n"
    write_whole(Path(folder) / PLAN, text, ExperimentError, "choose another --output")


def existing_plan(folder: Path) -> Plan:
    """The plan that a folder holds; ExperimentError if it holds none or `read_plan` raises."""
    if (plan := read_plan(folder)) is None:
        raise ExperimentError(f"{folder} holds no experiment ({PLAN} is missing): give the --output of one.")
    return plan


def read_plan(folder: Path) -> Plan | None:
    """The plan that a folder holds, or None; ExperimentError if it is damaged or has another version."""
    path, remedy = Path(folder) / PLAN, "delete it and give the command again; finished cells are kept"
    try:
        values = read_json(path, ExperimentError, remedy)
        version = values.pop("version")
        if version != VERSION:
            raise ExperimentError(f"{path} has version {version}; this toolkit reads version {VERSION}.")
        plan = read_plain(Plan, {key: value for key, value in values.items() if key in Plan.__dataclass_fields__})
        recipes = {name: read_recipe_dict(s.recipe, source=PLAN).as_dict() for name, s in plan.systems.items()}
        systems = {name: replace(system, recipe=recipes[name]) for name, system in plan.systems.items()}
        plan = replace(plan, systems=systems, cells=tuple(read_plain(Cell, cell) for cell in plan.cells))
        for cell in plan.cells:
            if cell.system not in plan.systems or cell.fold not in plan.folds.get(cell.protocol, ()):
                raise ValueError(f"the plan lacks the system or fold of {cell.name}")
        return plan
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, RecipeError) as error:
        raise ExperimentError(f"{path} is damaged ({one_line(str(error))}): {remedy}.") from None
