"""An experiment's plan: its systems and cells, made from recipes, joined to an earlier plan, and kept in a file."""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, replace
from pathlib import Path
from typing import Any

from toolkit.corpus import Utterance
from toolkit.corpus.labels import apply_labels
from toolkit.corpus.protocols import PROTOCOLS, arguments_of
from toolkit.corpus.targets import LABEL
from toolkit.errors import ExperimentError, RecipeError, counted, did_you_mean, listed, one_line
from toolkit.files import read_json, write_whole
from toolkit.model.hub import local_bundle
from toolkit.plugins.kinds import parts
from toolkit.plugins.registry import find_part
from toolkit.plugins.versions import used_versions
from toolkit.recipe.loading import read_recipe_dict
from toolkit.recipe.reading import read_plain
from toolkit.recipe.schema import ProtocolSpec, Recipe
from toolkit.training.init_from import Origin
from toolkit.training.preparation import Preparation, Source, names_of, prepare_folds, refuse_missing_labels
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
    folds: Mapping[str, tuple[str, ...]]  # protocol, in order -> names of the planned folds, in the protocol's order
    seeds: tuple[int, ...]
    labels: tuple[str, ...]  # the classes
    corpus: str  # hash of ids, labels and speakers
    cells: tuple[Cell, ...]  # in the order in which they are run
    splits: Mapping[str, str] = field(default_factory=dict)  # protocol -> hash of the parts of all its folds


def make_plan(
    sources: Sequence[Source],  # recipes with their data; the first is the baseline
    *,
    protocols: Sequence[str] | None = None,  # names; None: the recipes' own, which must then be the same
    folds: Sequence[str] | None = None,  # names; None: all of each protocol
    seeds: Sequence[int] = (1,),
) -> Plan:
    """Plan every system on every fold with every seed.

    Raises: ExperimentError if two recipes have the same name, the recipes differ in utterances, labels, protocol or
        splits, or a protocol or fold is unknown; ProtocolError, CorpusError if a corpus cannot be split.
    """
    names = [source.recipe.name for source in sources]
    for twice in (name for name in names if names.count(name) > 1):
        raise ExperimentError(f"Two recipes are called {twice!r}: write another `name:` into one of them.")
    own = tuple(dict.fromkeys(source.recipe.protocol.name for source in sources))
    if protocols is None and len(own) > 1:
        raise ExperimentError(f"The recipes' protocols differ, {', '.join(own)}: choose with --protocol.")
    protocols = tuple(dict.fromkeys(protocols or own))
    corpora: dict[str, list[Utterance]] = {}
    systems, by_protocol, splits, first = {}, {}, {}, None
    for source in sources:
        recipe = source.recipe
        for kind, _, part in parts(recipe):
            find_part(kind.name, part).check_args(part.args)
        utterances = _read_once(source, corpora)
        systems[recipe.name] = _planned(source, utterances)
        _check_arguments(recipe, protocols)
        for protocol in protocols:
            prepared = prepare_folds(replace(source, recipe=with_protocol(recipe, protocol)), utterances)
            first = first or prepared[0]
            _refuse_other_data(first, prepared[0])
            split = _split_hash(prepared)
            if splits.setdefault(protocol, split) != split:
                raise ExperimentError(
                    f"Recipes {names[0]!r} and {recipe.name!r} have different folds of protocol {protocol!r}, "
                    "and an experiment compares systems on the same folds: give them the same --protocol.args."
                )
            chosen = by_protocol.setdefault(protocol, _chosen(prepared, folds))
            for preparation in (p for p in prepared if p.fold.name in chosen):
                refuse_missing_labels(preparation)
    cells = [
        Cell(name, protocol, fold, seed, systems[name].fingerprint)
        for seed in seeds
        for protocol in protocols
        for fold in by_protocol[protocol]
        for name in names
    ]
    labels, corpus = first.targets[LABEL].classes, _corpus_hash(first.utterances)
    return Plan(systems, by_protocol, tuple(seeds), labels, corpus, tuple(cells), splits)


def _read_once(source: Source, corpora: dict[str, list[Utterance]]) -> list[Utterance]:
    """A source's utterances, from `corpora` if an earlier source has read the same; else they are kept there."""
    recipe, plain = source.recipe, source.recipe.as_dict()
    joined = [plain["labels"], plain["label_map"], names_of(recipe)] if recipe.normalize else None
    key = json.dumps([plain["corpus"], str(source.folder), joined], sort_keys=True)
    corpora[key] = corpora.get(key) or source.read()
    return corpora[key]


def _check_arguments(recipe: Recipe, protocols: Sequence[str]) -> None:
    """Refuse an unknown protocol, and an argument of the recipe that none of the protocols takes."""
    for unknown in (name for name in protocols if name not in PROTOCOLS):
        found = f"no protocol is called {unknown!r}.{did_you_mean(unknown, PROTOCOLS)}"
        raise ExperimentError(f"--protocol: {found} Protocols are {', '.join(PROTOCOLS)}.")
    known = {recipe.protocol.name, *protocols} & PROTOCOLS.keys()
    taken = {argument for name in known for argument in arguments_of(name)}
    for argument in (argument for argument in recipe.protocol.args if argument not in taken):
        raise ExperimentError(f"protocol.args.{argument}: no protocol among {', '.join(protocols)} takes it.")


def _split_hash(prepared: Sequence[Preparation]) -> str:
    """A hash of the parts of all folds."""
    return hashlib.sha256("".join(preparation.fold.digest for preparation in prepared).encode()).hexdigest()


def _planned(source: Source, utterances: Sequence[Utterance]) -> PlannedSystem:
    recipe = source.recipe
    labelled, _ = apply_labels(utterances, labels=recipe.labels, label_map=recipe.label_map)
    plain = recipe.as_dict()
    settings = {key: value for key, value in plain.items() if key not in NOT_THE_SYSTEMS}
    settings["protocol_args"] = plain["protocol"]["args"]
    folder = None if source.folder is None else str(source.folder.absolute())
    bundle = recipe.training.init_from
    started = {"init_from": Origin.read(local_bundle(bundle)).weights} if bundle else None
    fingerprint = run_hash(settings, manifest_rows(labelled), used_versions(recipe), started)
    return PlannedSystem(fingerprint, plain, folder, source.reduced)


def with_protocol(recipe: Recipe, name: str) -> Recipe:
    """The recipe under a protocol, with only the arguments that the protocol takes."""
    if recipe.protocol.name == name:
        return recipe
    args = {key: value for key, value in recipe.protocol.args.items() if key in arguments_of(name)}
    return replace(recipe, protocol=ProtocolSpec(name=name, args=args))


def _chosen(prepared: Sequence[Preparation], names: Sequence[str] | None) -> tuple[str, ...]:
    known = [preparation.fold.name for preparation in prepared]
    for name in (name for name in names or () if name not in known):
        found = f"protocol {prepared[0].fold.protocol!r} has no fold {name!r}.{did_you_mean(name, known)}"
        raise ExperimentError(f"--folds: {found} Folds are {listed(known)}; all takes every one.")
    return tuple(name for name in known if names is None or name in names)


def _refuse_other_data(first: Preparation, other: Preparation) -> None:
    names = f"{first.source.recipe.name!r} and {other.source.recipe.name!r}"
    one, two = (preparation.targets[LABEL] for preparation in (first, other))
    if one != two:
        found = f"Recipes {names} have different labels, {listed(one.classes)} and {listed(two.classes)}"
        raise ExperimentError(f"{found}: an experiment compares systems on one task.")
    if _corpus_hash(first.utterances) != _corpus_hash(other.utterances):
        found = f"Recipes {names} use different utterances"
        raise ExperimentError(f"{found}: an experiment compares systems on one corpus.")


def _corpus_hash(utterances: Sequence[Utterance]) -> str:
    return run_hash({}, [{"id": u.id, "label": u.label, "speaker": u.speaker} for u in utterances], {})


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
    kept = [cell for cell in old.cells if cell.system not in changed and cell.key not in keys]
    folds = {
        name: tuple(dict.fromkeys((*old.folds.get(name, ()), *new.folds.get(name, ()))))
        for name in {**old.folds, **new.folds}
    }
    seeds, splits = tuple(dict.fromkeys((*old.seeds, *new.seeds))), {**old.splits, **new.splits}
    whole = Plan(systems, folds, seeds, new.labels, new.corpus, (*kept, *new.cells), splits)
    return without_unused(whole), left_out(changed)


def left_out(systems: Iterable[str]) -> list[str]:
    """A line for each system, which is named once for each of its cells that the tables leave out."""
    return [
        f"{system}: the tables leave out {counted(count, 'cell')} with other settings or code; runs/ keeps their runs"
        for system, count in Counter(systems).items()
    ]


def without_unused(plan: Plan) -> Plan:
    """The plan without the protocols, folds and seeds that no cell has."""
    used = {value for cell in plan.cells for value in (cell.protocol, (cell.protocol, cell.fold), cell.seed)}
    folds = {name: tuple(f for f in folds if (name, f) in used) for name, folds in plan.folds.items() if name in used}
    splits = {name: split for name, split in plan.splits.items() if name in used}
    return replace(plan, folds=folds, splits=splits, seeds=tuple(seed for seed in plan.seeds if seed in used))


def write_plan(folder: Path, plan: Plan) -> None:
    """Write a plan to its folder, whole or not at all."""
    text = json.dumps({"version": VERSION, **asdict(plan)}, indent=1) + "\n"
    write_whole(Path(folder) / PLAN, text, ExperimentError, "choose another --output")


def existing_plan(folder: Path) -> Plan:
    """The plan that a folder holds; ExperimentError if it holds none or `read_plan` raises."""
    if (plan := read_plan(folder)) is None:
        if os.path.isdir(Path(folder) / TRIALS):
            raise ExperimentError(f"{folder} holds a search of `toolkit tune`: its search.md shows the trials.")
        raise ExperimentError(f"{folder} holds no experiment ({PLAN} is missing): give the --output of one.")
    return plan


def read_plan(folder: Path) -> Plan | None:
    """The plan that a folder holds, or None; ExperimentError if it is damaged or has another version."""
    path, remedy = Path(folder) / PLAN, "delete it and run the command again; finished cells are kept"
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
