"""From a finished run to a bundle.

Light to import: who only reads bundles pays for no statistics.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.corpus.protocols import selects_on
from toolkit.errors import BundleError
from toolkit.inference.bundle.archive import CARD, ONNX, WEIGHTS, refuse_existing, write_files
from toolkit.inference.bundle.config import CONFIG, FORMAT_VERSION, BundleConfig, FileFacts, config_text, read_config
from toolkit.inference.bundle.reading import restore_system
from toolkit.inference.usage import Usage
from toolkit.plugins.registry import default_registry, find_part
from toolkit.plugins.signatures import resolved_arguments
from toolkit.plugins.versions import library_versions, used_versions
from toolkit.recipe.field_checks import BadField
from toolkit.recipe.schema import ModelSpec, PartSpec

if TYPE_CHECKING:
    from toolkit.inference.bundle.trained_run import TrainedRun
    from toolkit.model.system import System


def export_bundle(
    run_folder: str | Path, target: str | Path, *, onnx: bool = False, say: Callable[[str], None] = lambda line: None
) -> Path:
    """Write the system of a finished run, with the weights of the epoch that was tested.

    Before anything is written the bundle is tried out: its system is built as a reader builds it, and has to answer
    the trial sound as the run's does.

    Args:
        run_folder: the run's folder, or its results.json.
        target: a folder to make, or one file for a name that ends in .zip; must not be there.
        onnx: whether to add model.onnx, the system as an ONNX model.
        say: prints a line: what has to be said of the results, code that changed since the training.

    Returns:
        The target.

    Raises:
        BundleError: if the run is not finished, something is at the target, or the system cannot be given away.
        OnnxError: if a part of it cannot be exported to ONNX.
        ToolkitError: if a file of the run is damaged, or its system cannot be built.
    """
    from toolkit.inference.bundle.card import card_text
    from toolkit.inference.bundle.trained_run import read_trained_run

    target = Path(target).expanduser()
    refuse_existing(target)
    run = read_trained_run(run_folder)
    _refuse_shuffled(run)
    for line in (*(f"NOTE: {stamp}" for stamp in run.results["stamps"]), *_changed_code(run)):
        say(line)

    from toolkit.inference.bundle.weights import weights_of

    system = _trained_system(run)
    weights = weights_of(system)
    config = _describe(run, system, weights)
    _try_out(config, weights)
    files = {WEIGHTS: weights, CARD: card_text(config).encode()}
    if onnx:
        files[ONNX] = _onnx_model(system, config.usage)
    config = replace(config, files={name: FileFacts.of(data) for name, data in files.items()})
    write_files(target, {CONFIG: config_text(config).encode(), **files})
    return target


def _onnx_model(system: "System", usage: Usage) -> bytes:
    from toolkit.inference.onnx.export import export_onnx

    with tempfile.TemporaryDirectory() as folder:
        return export_onnx(system, usage, Path(folder) / ONNX).path.read_bytes()


def _try_out(config: BundleConfig, weights: bytes) -> None:
    """Do what a reader does."""
    try:
        restore_system(read_config(config_text(config).encode()), weights)
    except BundleError as error:
        raise BundleError(
            f"{config.name} does not come back from what a bundle holds: {error} Do the portable_args of its levels "
            "build them?"
        ) from error


def _refuse_shuffled(run: "TrainedRun") -> None:
    for name, spec in run.recipe.model.covariates.items():
        if spec.source == "shuffled":
            raise BundleError(
                f"{run.recipe.name} reads a {name} that is shuffled: a control, whose values are drawn for its own "
                "corpus and which other audio has not. Export the system with source: label or predicted."
            )


def _changed_code(run: "TrainedRun") -> list[str]:
    trained = run.results["versions"]
    return [
        f"NOTE: trained with {name} {trained.get(name)}, exported with {here}; nothing shows that they compute the same"
        for name, here in used_versions(run.recipe).items()
        if trained.get(name) != here
    ]


def _trained_system(run: "TrainedRun") -> "System":
    """The run's system in eval() mode, as it was when it was tested."""
    import torch

    from toolkit.model.system import build_system
    from toolkit.training.loop.checkpoints import AtomicCheckpointer, load_state

    folders = run.checkpoint_folders()
    if not folders:
        raise BundleError(f"{run.folder} has no checkpoints, and nothing else holds its weights: train it again.")
    max_key = f"best_{selects_on(run.fold.protocol)}"
    best = AtomicCheckpointer(folders[0]).best(max_key, run.results["epoch"])
    with torch.random.fork_rng(devices=[]):
        system = build_system(run.recipe, run.targets)
    try:
        load_state(system, best.paramfiles["system"])
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise BundleError(f"{best.path}: these weights are of another system ({reason}): train it again.") from error
    return system.eval()


def _describe(run: "TrainedRun", system: "System", weights: bytes) -> BundleConfig:
    """All but the card's facts."""
    from toolkit.inference.bundle.summary import summarise
    from toolkit.inference.bundle.trial import answer_to_trial

    recipe, registry = run.recipe, default_registry()
    model = _portable_model(recipe.model, system)
    parts = [model.fusion, *model.levels.values(), *model.heads.values()]
    used = dict.fromkeys(part.plugin.rpartition(":")[0] for part in parts)
    versions = {info.distribution: info.version for info in registry.list_plugins()}
    classes = {name: target.classes for name, target in run.targets.items()}
    given = {name: classes[name] for name, spec in recipe.model.covariates.items() if spec.source == "label"}
    try:
        return BundleConfig(
            format_version=FORMAT_VERSION,
            name=recipe.name,
            distributions={name: versions[name] for name in used},
            audio=recipe.audio,
            classes=classes,
            covariates=given,
            model=model,
            predict_from=recipe.predict_from,
            training=summarise(run, random_backbones=_random_backbones(run, system)),
            trial=answer_to_trial(system, audio=recipe.audio, predict_from=recipe.predict_from),
            exported_with=library_versions() | {name: versions[name] for name in used},
            files={WEIGHTS: FileFacts.of(weights)},
        )
    except BadField as error:
        raise BundleError(f"{recipe.name} cannot be a bundle: {error}") from None


def _random_backbones(run: "TrainedRun", system: "System") -> tuple[str, ...]:
    """Levels that began with random weights, though they are, or may be, pre-trained."""
    return tuple(
        name
        for name, level in system.levels.items()
        if run.results["pretrained"].get(name) is None and (level.random_backbone or level.pretrained)
    )


def _portable_model(model: ModelSpec, system: "System") -> ModelSpec:
    """The recipe's model with its plugins' full names and all arguments, those of checkpoints replaced."""
    levels = {
        name: _portable_part("extractor", spec, system.levels[name].portable_args())
        for name, spec in model.levels.items()
    }
    heads = {name: _portable_part("head", spec, {}) for name, spec in model.heads.items()}
    return replace(model, levels=levels, fusion=_portable_part("fusion", model.fusion, {}), heads=heads)


def _portable_part(kind: str, spec: PartSpec, portable: Mapping) -> PartSpec:
    plugin = find_part(kind, spec)
    args = resolved_arguments(plugin.load(), dict(spec.args) | dict(portable), context=plugin.context)
    return replace(spec, plugin=plugin.full_name, args=args)
