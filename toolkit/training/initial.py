"""Starts a training from a bundle (`training.init_from`): its levels, its fusion, and heads with the same classes."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.corpus import Utterance
from toolkit.corpus.targets import Target
from toolkit.errors import BundleError, RecipeError, join, one_line
from toolkit.files import parse_json
from toolkit.model.archive import CONFIG, SEEN, WEIGHTS, open_file, read_file
from toolkit.model.seen import UNSEEN, Seen
from toolkit.plugins.registry import find_part
from toolkit.recipe.reading import read_plain
from toolkit.recipe.schema import AudioSpec, ModelSpec, Recipe

if TYPE_CHECKING:
    from toolkit.model.system import System

AUDIO_SEEN = "init_from: audio of the test part trained the bundle"
SPEAKERS_SEEN = "init_from: speakers of the test part, by name, trained the bundle"


def read_origin(path: Path) -> tuple[str, dict[str, Any]]:
    """The name of a bundle's weights, for results and for a run's identity, and the values of its config.json.

    Raises: BundleError if the bundle is missing or damaged.
    """
    try:
        values = parse_json(read_file(path, CONFIG), strict=True)
        values |= {"model": read_plain(ModelSpec, values["model"]), "audio": read_plain(AudioSpec, values["audio"])}
        values |= {"classes": dict(values["classes"]), "random": set(values["training"]["random_backbones"])}
        return f"{values['name']} sha256:{values['files'][WEIGHTS]['sha256'][:16]}", values
    except (RecipeError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path}: {CONFIG} is damaged ({one_line(error)}): get the bundle again.") from None


def start_from(path: Path, system: "System", recipe: Recipe, targets: Mapping[str, Target]) -> tuple[str, Seen]:
    """Load a bundle's weights into a system; returns a line that lists the parts taken from it, and what trained them.

    Levels, fusion and given covariates must fit. A head or a predicted covariate is taken if it fits and has the same
    classes; a head that is fitted in closed form is never taken.

    Raises: BundleError if the bundle is missing or damaged; RecipeError if something does not fit, or nothing can
        be taken.
    """
    from toolkit.model.weights import WeightsFile, refuse_not_finite

    (identity, origin), facts = read_origin(path), defaultdict(list)
    ours = recipe.model, recipe.audio, {name: [*target.classes] for name, target in targets.items()}
    for model, audio, classes in ((origin["model"], origin["audio"], origin["classes"]), ours):
        plugins = (f"{name} ({find_part('extractor', level).full_name})" for name, level in model.levels.items())
        facts["levels"].append(f"{join(plugins)} at {audio.sample_rate} Hz")
        if system.given_covariates:  # a predicted one may start from scratch
            given = (f"{name} {classes.get(name)}" for name in model.covariates)
            facts["covariates"].append(", ".join(given) or "none")
    for what, (there, here) in facts.items():
        if there != here:
            raise RecipeError(f"training.init_from: the {what} of {path.name} are {there}, the recipe's {here}.")
    with open_file(path, WEIGHTS) as (file, size):
        weights = WeightsFile(file, size)
        found = weights.read()
    refuse_not_finite(found, str(path))
    if weights.digest.hexdigest() != origin["files"][WEIGHTS]["sha256"]:
        raise BundleError(f"{path}: {WEIGHTS} is not the file that was exported: get the bundle again.")
    here_called, state = system.merged_names(), system.state_dict()  # adapters beside a bundle's weights start afresh
    own = {name: state[here] for name, here in here_called.items()}
    parts: dict[str, list[str]] = {}  # "levels.mfcc", "fusion", "heads.emotion" -> names in the two state_dicts
    for name in own | found:
        parts.setdefault(".".join(name.split(".")[: 1 if name.startswith("fusion.") else 2]), []).append(name)
    fresh = []
    for part, names in parts.items():
        odd = next((n for n in names if n not in own or n not in found or own[n].shape != found[n].shape), None)
        kind, _, called = part.partition(".")
        if kind not in ("heads", "covariates") and odd:
            there, here = (list(state[odd].shape) if odd in state else "missing" for state in (found, own))
            raise RecipeError(
                f"training.init_from: {odd} is {there} in {path.name}, and {here} in the recipe's system."
            )
        if kind in ("heads", "covariates"):
            models = (recipe.model, origin["model"])
            here, there = (m.heads[called].target if kind == "heads" and not odd else called for m in models)
            same = not odd and here == there and [*targets[here].classes] == origin["classes"].get(there)
            if not same or (kind == "heads" and system.heads[called].fits):
                fresh.append(part)
    taken = [part for part in parts if part not in fresh]
    if not taken:
        nothing = "its levels and its fusion have no weights, and every head would start from scratch"
        raise RecipeError(f"training.init_from: nothing can be taken from {path.name}: {nothing}.")
    system.load_state_dict({here_called[name]: found[name] for part in taken for name in parts[part]}, strict=False)
    for name, level in system.levels.items():
        level.pretrained, level.random_backbone = identity, name in origin["random"]
    left = [part for part in fresh if any(name in own for name in parts[part])]
    line = f"Starts from {path.name} ({identity}): {join(taken)}." + (f" From scratch: {join(left)}." if left else "")
    return line, Seen.read(read_file(path, SEEN)) if SEEN in origin["files"] else UNSEEN


def seen_before(seen: Seen, test: Sequence[Utterance]) -> list[str]:
    """The stamp of a test of which something trained the bundle, or chose its epoch; else nothing."""
    speakers, audio = seen.shared(test)
    return [AUDIO_SEEN] if audio else [SPEAKERS_SEEN] if speakers else []
