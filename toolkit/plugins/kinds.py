"""The kinds of plugin: one record each, read by everything that lists, checks, builds or writes plugins. No torch."""

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
    recipe: str  # where recipes name its plugins: the dotted path of one, or of a mapping of several
    suite: str  # "package.module:Class", a `toolkit.testing.Case` that tests the contract
    bundled: bool = False  # whether a trained system needs its plugins
    reads_folder: bool = False  # whether its plugins read a data folder


_BASE, _SUITE = "toolkit.contracts", "toolkit.testing"
_AUDIO = ("sample_rate", "segment_samples")
_FUSION = ("levels", "covariates", "segment_samples")
_HEAD, _LOSS = ("size", "sizes", "classes"), ("size", "classes", "class_counts")
_ALL = (
    Kind("extractor", f"{_BASE}:Extractor", _AUDIO, "model.levels", f"{_SUITE}.extractors:ExtractorCase", bundled=True),
    Kind("fusion", f"{_BASE}:Fusion", _FUSION, "model.fusion", f"{_SUITE}.fusions:FusionCase", bundled=True),
    Kind("head", f"{_BASE}:Head", _HEAD, "model.heads", f"{_SUITE}.heads:HeadCase", bundled=True),
    Kind("loss", f"{_BASE}:Loss", _LOSS, "model.losses", f"{_SUITE}.losses:LossCase"),
    Kind("augmentation", f"{_BASE}:Augmentation", _AUDIO, "augmentations", f"{_SUITE}.augmentations:AugmentationCase"),
    Kind("corpus", "toolkit.corpus:Corpus", (), "corpus", f"{_SUITE}.corpora:CorpusCase", reads_folder=True),
)
KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}


def kind_called(name: str) -> Kind:
    """The kind of this name; PluginError, with the nearest name, if there is none."""
    if name not in KINDS:
        known = ", ".join(KINDS)
        raise PluginError(f"No kind of plugin is called {name!r}.{did_you_mean(name, KINDS)} Kinds: {known}.")
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
