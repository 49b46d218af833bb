"""Plans the cells of an experiment from recipes, folds and seeds; refuses systems that cannot be compared."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

from toolkit.corpus import Utterance
from toolkit.corpus.labels import apply_labels
from toolkit.corpus.protocols import PROTOCOLS, arguments_of
from toolkit.corpus.targets import LABEL
from toolkit.errors import ExperimentError, did_you_mean, listed
from toolkit.experiment.plan import Cell, Plan, PlannedSystem
from toolkit.model.hub import local_bundle
from toolkit.plugins.versions import used_versions
from toolkit.recipe.schema import ProtocolSpec, Recipe
from toolkit.training.identity import manifest_rows, run_hash
from toolkit.training.initial import read_origin
from toolkit.training.preparation import Preparation, Source, names_of, prepare_folds

NOT_THE_SYSTEMS = ("fold", "seed", "protocol", "output_folder", "data_folder")  # keys outside the system


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
    if protocols is None:
        protocols = tuple(dict.fromkeys(source.recipe.protocol.name for source in sources))
        if len(protocols) > 1:
            raise ExperimentError(f"The recipes' protocols differ, {', '.join(protocols)}: choose with --protocol.")
    corpora: dict[str, list[Utterance]] = {}
    systems, by_protocol, splits, first = {}, {}, {}, None
    for source in sources:
        recipe, plain = source.recipe, source.recipe.as_dict()
        joined = [plain["labels"], plain["label_map"], names_of(recipe)] if recipe.normalize else None
        key = json.dumps([plain["corpus"], str(source.folder), joined], sort_keys=True)
        utterances = corpora[key] = corpora.get(key) or source.read()
        systems[recipe.name] = _planned(source, utterances)
        own = recipe.protocol
        taken = {argument for name in {own.name, *protocols} & PROTOCOLS.keys() for argument in arguments_of(name)}
        if unknown := [argument for argument in own.args if argument not in taken]:
            raise ExperimentError(f"protocol.args.{unknown[0]}: no protocol among {', '.join(protocols)} takes it.")
        for protocol in protocols:
            if protocol not in PROTOCOLS:
                found = f"no protocol is called {protocol!r}.{did_you_mean(protocol, PROTOCOLS)}"
                raise ExperimentError(f"--protocol: {found} Protocols are {', '.join(PROTOCOLS)}.")
            prepared = prepare_folds(replace(source, recipe=with_protocol(recipe, protocol)), utterances)
            first = first or prepared[0]
            _refuse_other_data(first, prepared[0])
            split = hashlib.sha256("".join(preparation.fold.digest for preparation in prepared).encode()).hexdigest()
            if splits.setdefault(protocol, split) != split:
                raise ExperimentError(
                    f"Recipes {names[0]!r} and {recipe.name!r} have different folds of protocol {protocol!r}, "
                    "and an experiment compares systems on the same folds: give them the same --protocol.args."
                )
            by_protocol.setdefault(protocol, _chosen(prepared, folds))
    cells = [
        Cell(name, protocol, fold, seed, systems[name].fingerprint)
        for seed in seeds
        for protocol in protocols
        for fold in by_protocol[protocol]
        for name in names
    ]
    labels, corpus = first.targets[LABEL].classes, _corpus_hash(first.utterances)
    return Plan(systems, by_protocol, tuple(seeds), labels, corpus, tuple(cells), splits)


def _planned(source: Source, utterances: Sequence[Utterance]) -> PlannedSystem:
    recipe = source.recipe
    labelled, _ = apply_labels(utterances, labels=recipe.labels, label_map=recipe.label_map)
    plain = recipe.as_dict()
    settings = {key: value for key, value in plain.items() if key not in NOT_THE_SYSTEMS}
    settings["protocol_args"] = plain["protocol"]["args"]
    folder = None if source.folder is None else str(source.folder.absolute())
    bundle = recipe.training.init_from
    started = {"init_from": read_origin(local_bundle(bundle))[0]} if bundle else None
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
