"""Turns a recipe's file and a data folder into a fold that can be trained. Imports no torch."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from toolkit.corpus import Corpus, Utterance, apply_labels
from toolkit.corpus.folds import Fold, pick_fold, refuse_shared
from toolkit.corpus.protocols import UNKNOWN_SPEAKERS_STAMP, make_folds
from toolkit.corpus.targets import LABEL, Target
from toolkit.corpus.utterance import Problem, alike_names, join_names
from toolkit.errors import CorpusError, ProtocolError, join, one_line
from toolkit.plugins.plugin import require_rule
from toolkit.plugins.registry import build, find_part
from toolkit.recipe.checks import UNWRITABLE
from toolkit.recipe.loading import as_overrides, find_recipe, load_recipe, override_tree
from toolkit.recipe.schema import Recipe

SYNTHETIC = "synthetic corpus: the figures say nothing about real speech"
SHARED_AUDIO = "shared_audio: allow: the same audio may be in two parts of the split"
REDUCED = "small settings (the recipe's without_data) instead of the recipe's own"


@dataclass(frozen=True)
class Source:
    """A checked recipe with the data that it is used on."""

    recipe: Recipe
    corpus: Corpus
    folder: Path | None  # None if the corpus needs none
    reduced: bool = False  # whether the recipe's `without_data` settings replace its own
    path: Path = Path()  # the recipe's file
    changes: Mapping[str, Any] = field(default_factory=dict)  # the overrides, as a tree

    def read(self) -> list[Utterance]:
        """All utterances, with the labels of the corpus; names that are alike are joined if the recipe says so."""
        recipe, utterances = self.recipe, self.corpus.read(self.folder)
        holds = isinstance(utterances, list) and all(isinstance(each, Utterance) for each in utterances)
        require_rule(self.corpus, "read", holds, "a list of Utterance", utterances)
        for u in utterances:
            for name, text in {"path": u.path, **vars(u), **u.extra}.items():
                if UNWRITABLE.search(str(text)):
                    problem = f"{one_line(u.path)}: {name} {str(text)!r} holds a NUL or a byte that is not UTF-8"
                    raise CorpusError(f"{problem}: rename it, because a run's files cannot hold it")
        if not recipe.normalize:
            return utterances
        return join_names(utterances, names_of(recipe), [*recipe.label_map, *(recipe.labels or ())])


@dataclass(frozen=True)
class Preparation:
    """Everything a run needs, gathered before torch is imported."""

    source: Source
    utterances: tuple[Utterance, ...]  # those with a label that the recipe uses, in the corpus's order
    targets: Mapping[str, Target]  # what can be predicted or used as a covariate, by name; "label" first
    fold: Fold
    n_read: int  # utterances in the corpus, whatever their label
    evaluated: tuple[str, ...] = ("valid", "test")  # without "test", the test part is never read

    @property
    def stamps(self) -> tuple[str, ...]:
        """Warnings that belong to every result, except those about weights."""
        stamps = {SYNTHETIC: self.source.corpus.synthetic, REDUCED: self.source.reduced}
        stamps |= {SHARED_AUDIO: self.source.recipe.shared_audio == "allow", self.fold.stamp: self.fold.stamp}
        return tuple(stamp for stamp, holds in stamps.items() if holds)

    @property
    def warnings(self) -> list[Problem]:
        """Every possible mistake that does not stop a training."""
        recipe = self.source.recipe
        warnings = alike_names(self.utterances, names_of(recipe)) if recipe.normalize is None else []
        notes = {name: check_numbers(recipe, target) for name, target in self.targets.items()}
        warnings += [Problem("numbers", "warning", note, name) for name, note in notes.items() if note]
        if (sizes := self.source.corpus.sizes) and self.n_read not in sizes:
            message = f"{self.n_read} utterances were read; the whole corpus has {join(map(str, sizes), 'or')}"
            warnings.append(Problem("size", "warning", message, recipe.corpus.plugin))
        return warnings

    @property
    def missing(self) -> list[str]:
        """The classes that no training utterance has."""
        trained = {u.label for u in self.part("train")}
        return [label for label in self.targets[LABEL].classes if label not in trained]

    def part(self, name: str) -> list[Utterance]:
        """The utterances of "train", "valid" or "test"."""
        members = set(getattr(self.fold, name))
        return [utterance for utterance in self.utterances if utterance.id in members]


def load_source(
    recipe: str | Path,  # the YAML's path, or the name of one of the toolkit's own
    overrides: Sequence[str] = (),  # "--a.b", "value", ... as on the command line
    *,
    data_folder: str | Path | None = None,
    manifest: str | Path | None = None,  # CSV or JSON, instead of the recipe's corpus
    search_folder: Path | None = None,  # searched first for the recipe
    trust: bool = False,  # whether the recipe may run code
) -> Source:
    """Read a recipe and find its data folder: the argument, else its `data_folder`, else the environment variable.

    Without a folder that the corpus needs, the recipe's `without_data` settings replace its own.
    """
    overrides = list(overrides)
    if manifest is not None:
        path = str(Path(os.path.expanduser(manifest)).absolute())
        overrides += as_overrides({"corpus.plugin": "manifest", "corpus.args.path": path})
    load = partial(load_recipe, recipe, overrides, search_folder=search_folder, trust=trust)
    full = load()
    kind = find_part("corpus", full.corpus).load()
    named = data_folder or full.data_folder
    if named is not None and not os.path.exists(os.path.expanduser(named)):
        raise CorpusError(f"The data folder {named} does not exist.")
    named = named or kind.default_folder()
    folder = None if named is None else Path(os.path.expanduser(named))
    lacks_data = folder is None and (kind.environment is not None or kind.synthetic)
    loaded = load(data_available=False) if lacks_data else full
    if loaded.training.has_arguments:  # only then is torch imported here
        from toolkit.training.loop.optimizers import check_optimizers

        check_optimizers(loaded.training)
    path, plain = find_recipe(recipe, search_folder), loaded.as_dict()
    changes = _values_of(override_tree(overrides, plain, path.parent, trust), plain)
    return Source(loaded, build("corpus", loaded.corpus), folder, reduced=loaded != full, path=path, changes=changes)


def _values_of(overrides: Any, plain: Any) -> Any:
    """The values that a recipe has where it is overridden."""
    if isinstance(overrides, Mapping) and isinstance(plain, Mapping):
        return {key: _values_of(value, plain.get(key)) for key, value in overrides.items()}
    return plain


def prepare(source: Source, utterances: Sequence[Utterance] | None = None) -> Preparation:
    """Read the corpus (unless its utterances are given), map its labels, make the folds and choose one."""
    preparations = prepare_folds(source, utterances)
    fold = pick_fold([preparation.fold for preparation in preparations], source.recipe.fold)
    chosen = next(preparation for preparation in preparations if preparation.fold is fold)
    refuse_missing_labels(chosen)
    return chosen


def refuse_missing_labels(preparation: Preparation) -> None:
    """Raises: CorpusError if no training utterance of the fold has one of the labels."""
    if preparation.missing:
        problem = f"no training utterance has the label {', '.join(preparation.missing)}"
        raise CorpusError(f"Fold {preparation.fold.name!r}: {problem}.")


def prepare_folds(source: Source, utterances: Sequence[Utterance] | None = None) -> list[Preparation]:
    """Prepare every fold of a recipe's protocol. Raises: CorpusError, ProtocolError; nothing is written before."""
    recipe, published = source.recipe, source.corpus.protocols
    if published and recipe.protocol.name not in published:
        problem = f"protocol {recipe.protocol.name!r} makes others: give --protocol {join(published, 'or')}"
        raise ProtocolError(f"corpus {recipe.corpus.plugin!r} has folds of its own; {problem}")
    read = source.read() if utterances is None else utterances
    utterances, labels = apply_labels(read, labels=recipe.labels, label_map=recipe.label_map)
    folds = make_folds(utterances, recipe.protocol.name, **recipe.protocol.args)
    if published:  # folds that keep recordings apart need no speakers
        folds = [replace(fold, stamp=None) if fold.stamp == UNKNOWN_SPEAKERS_STAMP else fold for fold in folds]
    if recipe.normalize is None:
        for fold in folds:
            refuse_shared(fold, utterances, alike=True)
    targets = find_targets(recipe, utterances, labels)
    return [Preparation(source, tuple(utterances), targets, fold, len(read)) for fold in folds]


def names_of(recipe: Recipe) -> list[str]:
    """The columns that hold names: of people, groups or classes."""
    return list(dict.fromkeys([LABEL, "speaker", "session", "group", *recipe.model.columns]))


def check_numbers(recipe: Recipe, target: Target) -> str | None:
    """`Target.check_numbers`, where classes that the recipe lists count as asked for."""
    listed = target.name == LABEL and recipe.labels is not None
    return target.check_numbers(asked=listed or target.name in recipe.numbers_as_classes)


def find_targets(recipe: Recipe, utterances: Sequence[Utterance], labels: Sequence[str]) -> dict[str, Target]:
    """All targets and covariates by name. Raises: CorpusError if no utterance has a value of one of them."""
    others = {name: Target.of_column(name, utterances) for name in recipe.model.columns if name != LABEL}
    targets = {LABEL: Target(LABEL, tuple(labels)), **others}
    for target in targets.values():
        check_numbers(recipe, target)
    return targets
