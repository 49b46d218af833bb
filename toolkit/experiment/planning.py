"""From recipes, folds and seeds to an experiment's cells; refuses what cannot be compared."""

import json
from collections.abc import Sequence
from dataclasses import replace

from toolkit.corpus import Utterance
from toolkit.corpus.labels import apply_labels
from toolkit.corpus.protocols import PROTOCOLS
from toolkit.corpus.targets import LABEL
from toolkit.errors import ExperimentError, did_you_mean
from toolkit.experiment.cells import Cell
from toolkit.experiment.plan import Plan, PlannedSystem
from toolkit.plugins.versions import used_versions
from toolkit.recipe.schema import ProtocolSpec, Recipe
from toolkit.training.identity import manifest_rows, run_hash
from toolkit.training.preparation import Preparation, Source, prepare_folds

OF_THE_CELL = ("fold", "seed", "protocol", "output_folder", "data_folder")  # of a recipe, but not of a system


def make_plan(
    sources: Sequence[Source],
    *,
    protocols: Sequence[str] | None = None,
    folds: Sequence[str] | None = None,
    seeds: Sequence[int] = (1,),
) -> Plan:
    """Plan every system on every fold with every seed.

    Args:
        sources: recipes with their data; the first is the baseline.
        protocols: names; None: the recipes' own, which must then be one.
        folds: names; None: all of each protocol.
        seeds: of the runs.

    Raises:
        ExperimentError: if two recipes have one name, or are not of the same utterances, labels and protocol.
        ProtocolError, CorpusError: if a corpus cannot be split, or a fold is not known.
    """
    names = [source.recipe.name for source in sources]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ExperimentError(f"Two recipes are called {twice!r}: write another `name:` into one of them.")
    if protocols is None:
        protocols = tuple(dict.fromkeys(source.recipe.protocol.name for source in sources))
        if len(protocols) > 1:
            raise ExperimentError(f"The recipes' protocols differ, {', '.join(protocols)}: choose by --protocol.")
    corpora = _Corpora()
    systems, found = {}, {}
    reference = None
    for source in sources:
        utterances = corpora.read(source)
        systems[source.recipe.name] = _planned(source, utterances)
        for protocol in protocols:
            prepared = _prepared(source, utterances, protocol)
            reference = reference or prepared[0]
            _refuse_other_data(reference, prepared[0])
            found[source.recipe.name, protocol] = _chosen(prepared, folds)
    by_protocol = {protocol: found[names[0], protocol] for protocol in protocols}
    cells = [
        Cell(name, protocol, fold, seed, systems[name].fingerprint)
        for seed in seeds
        for protocol in protocols
        for fold in by_protocol[protocol]
        for name in names
    ]
    return Plan(
        systems,
        tuple(protocols),
        by_protocol,
        tuple(seeds),
        reference.targets[LABEL].classes,
        _corpus_hash(reference.utterances),
        tuple(cells),
    )


class _Corpora:
    """Reads each corpus once, however many recipes use it."""

    def __init__(self):
        self._read: dict[str, list[Utterance]] = {}

    def read(self, source: Source) -> list[Utterance]:
        key = json.dumps([source.recipe.as_dict()["corpus"], str(source.folder)], sort_keys=True)
        if key not in self._read:
            self._read[key] = source.read()
        return self._read[key]


def _planned(source: Source, utterances: Sequence[Utterance]) -> PlannedSystem:
    recipe = source.recipe
    labelled, _ = apply_labels(utterances, labels=recipe.labels, label_map=recipe.label_map)
    plain = recipe.as_dict()
    settings = {key: value for key, value in plain.items() if key not in OF_THE_CELL}
    settings["protocol_args"] = plain["protocol"]["args"]
    folder = None if source.folder is None else str(source.folder.absolute())
    fingerprint = run_hash(settings, manifest_rows(labelled), used_versions(recipe))
    return PlannedSystem(fingerprint, plain, folder, source.reduced)


def with_protocol(recipe: Recipe, name: str) -> Recipe:
    """The recipe under a protocol; its arguments are kept only for the protocol that they belong to."""
    if recipe.protocol.name == name:
        return recipe
    return replace(recipe, protocol=ProtocolSpec(name=name))


def _prepared(source: Source, utterances: Sequence[Utterance], protocol: str) -> list[Preparation]:
    if protocol not in PROTOCOLS:
        raise ExperimentError(
            f"--protocol: none is called {protocol!r}.{did_you_mean(protocol, PROTOCOLS)} "
            f"Known are {', '.join(PROTOCOLS)}."
        )
    return prepare_folds(replace(source, recipe=with_protocol(source.recipe, protocol)), utterances)


def _chosen(prepared: Sequence[Preparation], names: Sequence[str] | None) -> tuple[str, ...]:
    known = [preparation.fold.name for preparation in prepared]
    if names is None:
        return tuple(known)
    for name in names:
        if name not in known:
            raise ExperimentError(
                f"--folds: protocol {prepared[0].fold.protocol!r} has no fold {name!r}.{did_you_mean(name, known)} "
                f"Folds are {', '.join(known)}; all takes every one."
            )
    return tuple(name for name in known if name in names)


def _refuse_other_data(first: Preparation, other: Preparation) -> None:
    names = f"{first.source.recipe.name!r} and {other.source.recipe.name!r}"
    one, two = (preparation.targets[LABEL] for preparation in (first, other))
    if one != two:
        raise ExperimentError(
            f"Recipes {names} have different labels, {', '.join(one.classes)} and {', '.join(two.classes)}: an "
            "experiment compares systems on one task."
        )
    if _corpus_hash(first.utterances) != _corpus_hash(other.utterances):
        raise ExperimentError(
            f"Recipes {names} use different utterances: an experiment compares systems on one corpus."
        )


def _corpus_hash(utterances: Sequence[Utterance]) -> str:
    return run_hash({}, [{"id": u.id, "label": u.label, "speaker": u.speaker} for u in utterances], {})
