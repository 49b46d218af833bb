"""An experiment's plan: its systems and cells, made from recipes, joined to an earlier plan, and kept in a file."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, replace
from pathlib import Path
from typing import Any

from toolkit.corpus.folds import pick_fold
from toolkit.corpus.protocols import PROTOCOLS, arguments_of
from toolkit.corpus.targets import LABEL
from toolkit.errors import ExperimentError, RecipeError, listed, one_line
from toolkit.files import read_json, write_whole
from toolkit.model.hub import local_bundle
from toolkit.plugins.kinds import parts
from toolkit.plugins.registry import find_part, used_versions
from toolkit.recipe.loading import read_recipe_dict
from toolkit.recipe.reading import read_plain
from toolkit.recipe.schema import ProtocolSpec, Recipe
from toolkit.training.init_from import Origin
from toolkit.training.preparation import Source, prepare_folds, refuse_missing_labels
from toolkit.training.run_folder import manifest_rows, run_hash

PLAN = "experiment.json"
TRIALS = "trials"  # only in the folder of a search
VERSION = 1
NOT_THE_SYSTEMS = ("fold", "seed", "protocol", "output_folder", "data_folder")  # keys outside the system


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
    labels: tuple[str, ...]  # the classes
    corpus: str  # hash of ids, labels and speakers
    cells: tuple[Cell, ...]  # in the order in which they are run
    splits: Mapping[str, str] = field(default_factory=dict)  # protocol -> hash of the parts of all its folds

    @property
    def folds(self) -> dict[str, tuple[str, ...]]:
        """The names of each protocol's folds, in the order of the cells."""
        found = dict.fromkeys((cell.protocol, cell.fold) for cell in self.cells)
        return {name: tuple(fold for protocol, fold in found if protocol == name) for name, _ in found}

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, in the order of the cells."""
        return tuple(dict.fromkeys(cell.seed for cell in self.cells))


def make_plan(
    sources: Sequence[Source], *, protocols: Sequence[str] = (), folds: Sequence[str] = (), seeds: Sequence[int] = (1,)
) -> Plan:
    """Plan every system on every fold, or on some, with every seed; by default under the recipes' one protocol."""
    names = [source.recipe.name for source in sources]
    for twice in (name for name in names if names.count(name) > 1):
        raise ExperimentError(f"Two recipes are called {twice!r}: write another `name:` into one of them.")
    own = tuple(dict.fromkeys(source.recipe.protocol.name for source in sources))
    if not protocols and len(own) > 1:
        raise ExperimentError(f"The recipes' protocols differ, {', '.join(own)}: choose with --protocol.")
    first, *others = [_plan_of_one(source, tuple(dict.fromkeys(protocols or own)), folds, seeds) for source in sources]
    for other in others:
        _refuse_another_task(first, other, f"{names[0]!r} and {next(iter(other.systems))!r}")
    systems = {name: system for plan in (first, *others) for name, system in plan.systems.items()}
    cells = [cell for of_all in zip(*(plan.cells for plan in (first, *others)), strict=True) for cell in of_all]
    return replace(first, systems=systems, cells=tuple(cells))


def _plan_of_one(source: Source, protocols: Sequence[str], folds: Sequence[str], seeds: Sequence[int]) -> Plan:
    recipe = source.recipe
    for kind, _, part in parts(recipe):
        find_part(kind.name, part).check_args(part.args)
    utterances, tests, splits = source.read(), [], {}
    for protocol in protocols:
        prepared = prepare_folds(replace(source, recipe=with_protocol(recipe, protocol)), utterances)
        splits[protocol] = hashlib.sha256("".join(each.fold.digest for each in prepared).encode()).hexdigest()
        known = [preparation.fold for preparation in prepared]
        chosen = [pick_fold(known, name) for name in folds] or known
        for preparation in (preparation for preparation in prepared if preparation.fold in chosen):
            refuse_missing_labels(preparation)
            tests.append((protocol, preparation.fold.name))
    labelled = prepared[0].utterances
    plain = recipe.as_dict()
    settings = {key: value for key, value in plain.items() if key not in NOT_THE_SYSTEMS}
    settings["protocol_args"] = plain["protocol"]["args"]
    bundle = recipe.training.init_from
    started = {"init_from": Origin.read(local_bundle(bundle)).weights} if bundle else None
    fingerprint = run_hash(settings, manifest_rows(labelled), used_versions(recipe), started)
    folder = None if source.folder is None else str(source.folder.absolute())
    system = PlannedSystem(fingerprint, plain, folder, source.reduced)
    cells = tuple(Cell(recipe.name, *test, seed, fingerprint) for seed in seeds for test in tests)
    rows = [{"id": u.id, "label": u.label, "speaker": u.speaker} for u in labelled]
    return Plan({recipe.name: system}, prepared[0].targets[LABEL].classes, run_hash({}, rows, {}), cells, splits)


def _refuse_another_task(one: Plan, other: Plan, both: str) -> None:
    found = f"{both} have different"
    remedy = "an experiment compares systems on one task, so another task needs another --output"
    if one.labels != other.labels:
        raise ExperimentError(f"{found} labels, {listed(one.labels)} and {listed(other.labels)}: {remedy}.")
    if one.corpus != other.corpus:
        raise ExperimentError(f"{found} utterances: {remedy}.")
    for protocol in one.splits.keys() & other.splits.keys():
        if one.splits[protocol] != other.splits[protocol]:
            raise ExperimentError(f"{found} folds of protocol {protocol!r} (--protocol.args): {remedy}.")


def with_protocol(recipe: Recipe, name: str) -> Recipe:
    """The recipe under a protocol, without the arguments that only other protocols take."""
    if recipe.protocol.name == name:
        return recipe
    others = {argument for other in PROTOCOLS if other != name for argument in arguments_of(other)}
    own = arguments_of(name) if name in PROTOCOLS else ()
    args = {key: value for key, value in recipe.protocol.args.items() if key in own or key not in others}
    return replace(recipe, protocol=ProtocolSpec(name=name, args=args))


def merged(old: Plan, new: Plan) -> Plan:
    """Add a plan to the one that its folder holds; ExperimentError if their data, labels or splits differ.

    Cells whose system has changed since, in its settings, data or code, are left out: no table mixes the two.
    """
    _refuse_another_task(old, new, "This experiment and the one in the folder")
    systems = {**old.systems, **new.systems}
    kept = (cell for cell in old.cells if cell.fingerprint == systems[cell.system].fingerprint)
    cells = {cell.key: cell for cell in (*kept, *new.cells)}.values()
    used = {cell.protocol for cell in cells}
    splits = {name: split for name, split in {**old.splits, **new.splits}.items() if name in used}
    return Plan(systems, new.labels, new.corpus, tuple(cells), splits)


def write_plan(folder: Path, plan: Plan) -> None:
    """Write a plan to its folder, whole or not at all."""
    values = {"version": VERSION, **asdict(plan), "folds": plan.folds, "seeds": plan.seeds}  # also for other readers
    write_whole(folder / PLAN, json.dumps(values, indent=1) + "\n", ExperimentError, "choose another --output")


def read_plan(folder: Path) -> Plan:
    """The plan that a folder holds; ExperimentError if it holds none, a damaged one, or one of another version."""
    path, remedy = folder / PLAN, "delete it and run the command again; finished cells are kept"
    try:
        values = read_json(path, ExperimentError, remedy)
        if (version := values["version"]) != VERSION:
            raise ExperimentError(f"{path} has version {version}; this toolkit reads version {VERSION}.")
        plan = read_plain(Plan, {key: value for key, value in values.items() if key in Plan.__dataclass_fields__})
        for name, system in plan.systems.items():  # keys that are newer than the file have their defaults
            plan.systems[name] = replace(system, recipe=read_recipe_dict(system.recipe, source=PLAN).as_dict())
        return replace(plan, cells=tuple(read_plain(Cell, cell) for cell in plan.cells))
    except FileNotFoundError:
        raise ExperimentError(f"{folder} holds no experiment ({PLAN} is missing): give the --output of one.") from None
    except (KeyError, RecipeError) as error:
        raise ExperimentError(f"{path} is damaged ({one_line(str(error))}): {remedy}.") from None
