"""Starts a training from a bundle (`training.init_from`): its levels, its fusion, and heads with the same classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.corpus import Utterance
from toolkit.corpus.targets import Target
from toolkit.errors import BundleError, PluginError, RecipeError, join, one_line
from toolkit.files import parse_json
from toolkit.model.archive import CONFIG, WEIGHTS, read_file, read_weights
from toolkit.model.hub import local_bundle
from toolkit.model.seen import Seen
from toolkit.plugins.registry import build, find_part
from toolkit.recipe.reading import read_plain
from toolkit.recipe.schema import AudioSpec, Composition, ModelSpec, PartSpec, Recipe

if TYPE_CHECKING:
    from toolkit.model.system import System

AUDIO_SEEN = "init_from: audio of the test part trained the bundle"
SPEAKERS_SEEN = "init_from: speakers of the test part, by name, trained the bundle"


@dataclass(frozen=True)
class Origin:
    """What a bundle's config.json tells a training that starts from it."""

    weights: str  # their name, for results and for a run's identity
    hashes: Mapping[str, str]  # file -> SHA-256; a bundle of version 0.1 does not say what trained it
    model: ModelSpec
    audio: AudioSpec
    classes: Mapping[str, Sequence[str]]  # by target
    random_backbones: frozenset[str]  # levels

    @classmethod
    def read(cls, path: Path) -> "Origin":
        """Raises: BundleError."""
        try:
            config = parse_json(read_file(path, CONFIG), strict=True)
            hashes = {name: facts["sha256"] for name, facts in config["files"].items()}
            return cls(
                weights=f"{config['name']} sha256:{hashes[WEIGHTS][:16]}",
                hashes=hashes,
                model=read_plain(ModelSpec, config["model"]),
                audio=read_plain(AudioSpec, config["audio"]),
                classes=dict(config["classes"]),
                random_backbones=frozenset(config["training"]["random_backbones"]),
            )
        except (RecipeError, ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{path}: {CONFIG} is damaged ({one_line(error)}): get the bundle again.") from None


def build_to_train(recipe: Recipe, targets: Mapping[str, Target]) -> "System":
    """As `build_system`; a level whose checkpoint is unavailable is built without it if a bundle holds its weights."""
    from toolkit.model.allowance import Allowance
    from toolkit.model.system import build_system

    try:
        return build_system(recipe, targets)
    except PluginError:
        if recipe.training.init_from is None:
            raise
        origin = Origin.read(local_bundle(recipe.training.init_from))
        with Allowance(draw=False):
            levels = {name: _standalone(name, level, origin) for name, level in recipe.model.levels.items()}
        return build_system(replace(recipe, model=replace(recipe.model, levels=levels)), targets)


def _standalone(name: str, level: PartSpec, origin: Origin) -> PartSpec:
    """A level with arguments that build it without a checkpoint: the bundle's where the recipe has none."""
    there = origin.model.levels.get(name, level)
    alone = find_part("extractor", there).load().standalone_args
    audio = {"sample_rate": origin.audio.sample_rate, "segment_samples": origin.audio.segment_samples}
    portable = build("extractor", replace(there, args={**there.args, **alone}), audio).portable_args()
    own = {key: {**portable.get(key, {}), **v} if isinstance(v, Mapping) else v for key, v in level.args.items()}
    return replace(level, args={**portable, **own, **alone})


def start_from(path: Path, system: "System", recipe: Recipe, targets: Mapping[str, Target]) -> tuple[str, Seen]:
    """Load a bundle's weights into a system; returns a line that lists the parts taken from it, and what trained them.

    Levels, fusion and given covariates must fit. A head or a predicted covariate is taken if it fits, has the same
    classes and is not fitted in closed form.
    """
    origin = Origin.read(path)
    given = any(spec.source != "predicted" for spec in recipe.model.covariates.values())  # others may start afresh
    there = _inputs(origin, origin.classes if given else None)
    here = _inputs(recipe, {name: [*target.classes] for name, target in targets.items()} if given else None)
    if there != here:
        raise RecipeError(f"training.init_from: {path.name} has {there}, the recipe has {here}.")
    theirs = read_weights(path, sha256=origin.hashes[WEIGHTS])
    state, called_here = system.state_dict(), system.merged_names()  # adapters that a bundle lacks start afresh
    ours = {name: state[own] for name, own in called_here.items()}
    their_shapes, shapes = ({n: list(weight.shape) for n, weight in weights.items()} for weights in (theirs, ours))
    parts: dict[str, list[str]] = {}  # "levels.mfcc", "fusion", "heads.emotion" -> names of weights
    for name in shapes | their_shapes:
        parts.setdefault("fusion" if name.startswith("fusion.") else ".".join(name.split(".")[:2]), []).append(name)
    closed_form = [f"heads.{name}" for name, head in system.heads.items() if head.fits]
    fresh = []
    for part, names in parts.items():
        odd = next((name for name in names if their_shapes.get(name) != shapes.get(name)), None)
        if part.startswith(("heads.", "covariates.")):
            if odd is not None or part in closed_form or not _has_same_classes(part, origin, recipe, targets):
                fresh.append(part)
        elif odd is not None:
            problem = f"{odd} is {their_shapes.get(odd, 'missing')} in {path.name}, and {shapes.get(odd, 'missing')}"
            raise RecipeError(f"training.init_from: {problem} in the recipe's system.")
    taken = [part for part in parts if part not in fresh]
    if not taken:
        nothing = "its levels and its fusion have no weights, and every head would start from scratch"
        raise RecipeError(f"training.init_from: nothing can be taken from {path.name}: {nothing}.")
    system.load_state_dict({called_here[name]: theirs[name] for part in taken for name in parts[part]}, strict=False)
    for name, level in system.levels.items():
        level.pretrained, level.random_backbone = origin.weights, name in origin.random_backbones
    left = [part for part in fresh if any(name in ours for name in parts[part])]
    line = f"Starts from {path.name} ({origin.weights}): {join(taken)}."
    line += f" From scratch: {join(left)}." if left else ""
    return line, Seen.read(path, origin.hashes)


def seen_before(seen: Seen, test: Sequence[Utterance]) -> list[str]:
    """The stamp for a test whose audio, or else whose speakers, the bundle has already seen; empty if none."""
    speakers, audio = seen.shared(test)
    return [AUDIO_SEEN] if audio else [SPEAKERS_SEEN] if speakers else []


def _inputs(system: Composition, classes: Mapping[str, Sequence[str]] | None) -> str:
    """What a system reads, in words: its levels, and unless `classes` is None its covariates with their values."""
    plugins = (f"{name} ({find_part('extractor', level).full_name})" for name, level in system.model.levels.items())
    found = f"levels {join(plugins)} at {system.audio.sample_rate} Hz"
    covariates = [f"{name} {classes.get(name)}" for name in system.model.covariates] if classes is not None else []
    return f"{found} and covariates {', '.join(covariates)}" if covariates else found


def _has_same_classes(part: str, origin: Origin, recipe: Recipe, targets: Mapping[str, Target]) -> bool:
    """Whether a head, or a predicted covariate, has the same target in the bundle and here, with the same classes."""
    kind, _, name = part.partition(".")
    here, there = (each.model.heads[name].target if kind == "heads" else name for each in (recipe, origin))
    return here == there and [*targets[here].classes] == origin.classes.get(there)
