"""Reads a bundle and builds its system. A bundle holds no code: it names plugins, which must be installed."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from toolkit.corpus.targets import Target
from toolkit.errors import BundleError, PluginError, ToolkitError, UnknownPlugin, one_line
from toolkit.files import sha256_of
from toolkit.inference.bundle.config import CONFIG, BundleConfig, Usage, read_config
from toolkit.model.archive import CARD, ONNX, WEIGHTS, open_file, read_file
from toolkit.model.hub import local_bundle, on_hub
from toolkit.model.seen import SEEN, UNSEEN, Seen
from toolkit.plugins.registry import find_part

if TYPE_CHECKING:
    from toolkit.model.system import System

TABLES = 256 << 20  # bytes that building may take beside the weights, for tables that plugins compute
FEW = 1000  # tensors that building may make beside the weights

logger = logging.getLogger("toolkit")


@dataclass(frozen=True, eq=False)
class Bundle:
    """An exported system, in eval() mode and on the CPU."""

    path: Path
    config: BundleConfig
    system: "System"
    seen: Seen = UNSEEN

    @property
    def usage(self) -> Usage:
        """How audio goes in and what comes out."""
        return self.config.usage


def read_bundle(path: str | Path) -> Bundle:
    """Read a bundle: a folder, a .zip, or hf:USER/NAME[@REVISION] on the hub, which is fetched first.

    Raises: BundleError: one line that says what is wrong with the bundle, or what is not installed.
    """
    given, path = path, local_bundle(path)
    shown = given if on_hub(given) else path
    unread = {CARD, WEIGHTS}
    if os.path.isdir(path) and not os.path.lexists(path / ONNX):  # from the hub: model.onnx is not fetched
        unread.add(ONNX)
    try:
        config = read_config(read_file(path, CONFIG))
        for name in [CARD, *(name for name in config.files if name not in unread)]:
            with open_file(path, name) as (file, size):
                _check_file(name, config, size, sha256_of(file))
        _check_plugins(config)
        seen = Seen.read(read_file(path, SEEN)) if SEEN in config.files else UNSEEN
        with open_file(path, WEIGHTS) as (file, size):
            system = restore_system(config, file, size)
    except BundleError as error:
        named = str(error).startswith((str(path), "No bundle"))
        text = str(error).replace(str(path), str(shown)) if named else f"{shown}: {error}"
        raise BundleError(text) from error.__cause__
    return Bundle(path, config, system, seen)


def restore_system(config: BundleConfig, file: BinaryIO, size: int) -> "System":
    """Build the system in eval() mode with the weights in `file`, in little more memory than they take.

    Raises: BundleError if it cannot be built here, the weights do not fit, or it predicts the trial sound differently.
    """
    import torch

    from toolkit.inference.bundle.trial import answer_to_trial, same_answer
    from toolkit.model.allowance import MOST_TENSORS, Allowance
    from toolkit.model.system import build_system
    from toolkit.model.weights import WeightsFile, load_weights

    _check_file(WEIGHTS, config, size)
    weights = WeightsFile(file, size)
    tensors = min(20 * len(weights.kinds) + FEW, MOST_TENSORS)
    allowance = Allowance(2 * size + TABLES, tensors=tensors, draw=False)
    with torch.random.fork_rng(devices=[]):  # plugins may draw weights, which are replaced
        try:
            _drop_retired_arguments(config)
            _refuse_outside(config)
            system = build_system(config, Target.by_name(config.classes), allowance=allowance)
        except ToolkitError as error:
            raise BundleError(f"{CONFIG}: {one_line(str(error))}") from error
    load_weights(system, weights)
    _check_file(WEIGHTS, config, size, weights.digest.hexdigest())
    for name, level in system.levels.items():
        level.pretrained = config.training.pretrained.get(name)
        level.random_backbone = name in config.training.random_backbones
    answer = answer_to_trial(system.eval(), audio=config.audio, predict_from=config.predict_from)
    if not same_answer(answer, config.trial):
        changed = [f"{n} {v}" for n, v in config.exported_with.items() if n != "python" and _installed(n) != v]
        versions = f"It was exported with {', '.join(changed)}." if changed else "The versions are the same."
        raise BundleError(
            f"the prediction for the trial sound differs from that at export ({_shown(answer)}, not "
            f"{_shown(config.trial)}): its plugins or libraries compute something else here. {versions}"
        )
    return system


def _check_file(name: str, config: BundleConfig, size: int, sha256: str | None = None) -> None:
    """Refuse a file whose size, or hash if it is given, is not the one in config.json."""
    if (expected := config.files.get(name)) is None:
        raise BundleError(f"{CONFIG} does not list {name} in `files`.")
    if (size, sha256 or expected.sha256) != (expected.bytes, expected.sha256):
        hashes = f"; its SHA-256 begins with {sha256[:12]}, not with {expected.sha256[:12]}" if sha256 else ""
        found = f"{size:,} bytes, not {expected.bytes:,}{hashes}"
        raise BundleError(f"{name} is not the file that was exported ({found}): get the bundle again.")


def _check_plugins(config: BundleConfig) -> None:
    """Refuse a bundle whose plugins are not installed; warn of other versions of their distributions."""
    for kind, _, part in config.parts():
        try:
            find_part(kind, part)
        except UnknownPlugin as error:
            distribution, _, name = part.plugin.rpartition(":")
            wanted = f"{kind} {name!r} of {distribution} {config.distributions[distribution]}"
            if (here := _installed(distribution)) is None:
                reason = ", which is not installed here: install it if you trust it."
            else:
                hint = str(error).partition(f"{part.plugin!r}.")[2]
                reason = f"; {distribution} {here}, which is installed, has none.{hint}"
            raise BundleError(one_line(f"It needs {wanted}{reason}")) from error
        except PluginError as error:
            raise BundleError(one_line(str(error))) from error
    for distribution, exported in config.distributions.items():
        if (here := _installed(distribution)) not in (exported, None):
            found = f"exported with {distribution} {exported}, but {here} is installed here"
            logger.warning("%s: %s.", config.name, found)


def _drop_retired_arguments(config: BundleConfig) -> None:
    """Remove arguments that plugins no longer take; they were used in training alone."""
    for kind, _, part in config.parts():
        for name in getattr(find_part(kind, part).load(), "retired", ()):
            part.args.pop(name, None)


def _refuse_outside(config: BundleConfig) -> None:
    """Refuse arguments that name a file, a folder, a hub name or a download, before anything looks for it."""
    for kind, location, part in config.parts():
        for name, alone in getattr(find_part(kind, part).load(), "standalone_args", {}).items():
            if (found := part.args.get(name, ...)) != alone:
                shown = f"{location}.args.{name} is {'missing' if found is ... else repr(found)}"
                raise BundleError(f"{shown}: {alone!r} is needed, since a bundle is self-contained.")


def _installed(distribution: str) -> str | None:
    try:
        return version(distribution)
    except (PackageNotFoundError, ValueError):  # a bundle may hold any name, an empty one too
        return None


def _shown(answer: Sequence[float]) -> str:
    return " ".join(f"{share:.3f}" for share in answer[:4]) + (" ..." if len(answer) > 4 else "")
