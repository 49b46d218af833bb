"""The kinds of plugin: one record each, read by everything that lists, checks, builds or writes plugins. No torch.

A new kind needs a record here, a folder of templates and a contract suite, beside its base class and its use.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.errors import PluginError, did_you_mean
from toolkit.recipe.schema import PartSpec


@dataclass(frozen=True)
class Kind:
    """A kind of plugin."""

    name: str  # what declarations and commands call it
    base: str  # "package.module:Class", from which its plugins derive
    context: tuple[str, ...]  # constructor arguments that the system gives; a recipe cannot set them
    recipe: str  # where recipes name its plugins: the dotted path of one, or of a mapping by name
    suite: str  # "package.module:Class", a `toolkit.testing.Case` that tries out the contract
    bundled: bool = False  # whether a trained system needs its plugins
    reads_folder: bool = False  # whether its plugins read a data folder


_ALL = (
    Kind(
        name="extractor",
        base="toolkit.contracts:Extractor",
        context=("sample_rate", "segment_samples"),
        recipe="model.levels",
        suite="toolkit.testing.extractors:ExtractorCase",
        bundled=True,
    ),
    Kind(
        name="fusion",
        base="toolkit.contracts:Fusion",
        context=("levels", "covariates", "segment_samples"),
        recipe="model.fusion",
        suite="toolkit.testing.fusions:FusionCase",
        bundled=True,
    ),
    Kind(
        name="head",
        base="toolkit.contracts:Head",
        context=("size", "classes"),
        recipe="model.heads",
        suite="toolkit.testing.heads:HeadCase",
        bundled=True,
    ),
    Kind(
        name="loss",
        base="toolkit.contracts:Loss",
        context=("size", "classes", "class_counts"),
        recipe="model.losses",
        suite="toolkit.testing.losses:LossCase",
    ),
    Kind(
        name="augmentation",
        base="toolkit.contracts:Augmentation",
        context=("sample_rate", "segment_samples"),
        recipe="augmentations",
        suite="toolkit.testing.augmentations:AugmentationCase",
    ),
    Kind(
        name="corpus",
        base="toolkit.corpus:Corpus",
        context=(),
        recipe="corpus",
        suite="toolkit.testing.corpora:CorpusCase",
        reads_folder=True,
    ),
)
KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}


def kind_called(name: str) -> Kind:
    """The kind of a name; PluginError with the nearest if there is none."""
    if name not in KINDS:
        near = did_you_mean(name, KINDS)
        raise PluginError(f"No kind of plugin is called {name!r}.{near} Kinds: {', '.join(KINDS)}.")
    return KINDS[name]


def parts(recipe: Any) -> Iterator[tuple[Kind, str, PartSpec]]:
    """Every plugin that a recipe or a bundle's config names: its kind, its location and its part of the recipe."""
    for kind in KINDS.values():
        found = recipe
        for key in kind.recipe.split("."):
            found = getattr(found, key, None)
        if isinstance(found, Mapping):
            yield from ((kind, f"{kind.recipe}.{name}", part) for name, part in found.items())
        elif found is not None:
            yield kind, kind.recipe, found
