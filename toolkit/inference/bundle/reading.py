"""Reads a bundle and builds its system. A bundle holds no code: it names plugins, which must be installed."""

import logging
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from toolkit.corpus.targets import Target
from toolkit.errors import BundleError, ToolkitError, UnknownPlugin, one_line
from toolkit.files import parse_json
from toolkit.inference.bundle.config import CONFIG, BundleConfig, Usage, read_config
from toolkit.model.archive import CARD, SEEN, WEIGHTS, read_file
from toolkit.model.hub import local_bundle
from toolkit.model.seen import UNSEEN, Seen
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
    try:
        config = read_config(read_file(path, CONFIG))
        listed = [name for name in (CARD, WEIGHTS, SEEN) if name in config.files]
        files = {name: read_file(path, name, sha256=config.files[name].sha256) for name in listed}
        seen = Seen.from_dict(parse_json(files[SEEN])) if SEEN in files else UNSEEN
        system = restore_system(config, files[WEIGHTS])
    except (ToolkitError, LookupError, TypeError, ValueError) as error:  # others: values that contradict each other
        text = str(error) if isinstance(error, ToolkitError) else f"its files contradict each other: {one_line(error)}"
        text = text.removeprefix(f"{path}: ")
        named = text.startswith((f"{path} ", "No bundle"))
        raise BundleError(text if named else f"{given}: {text}") from error.__cause__
    return Bundle(path, config, system, seen)


def restore_system(config: BundleConfig, weights: bytes) -> "System":
    """Build the system in eval() mode, with the weights in the bytes of a safetensors file.

    Raises: ToolkitError if it cannot be built here, the weights do not fit, or it predicts the trial sound differently.
    """
    import torch

    from toolkit.inference.bundle.trial import TOLERANCE, answer_to_trial
    from toolkit.model.allowance import Allowance
    from toolkit.model.system import build_system
    from toolkit.model.weights import load_weights, read_weights

    _check_parts(config)
    state = read_weights(weights)
    allowance = Allowance(2 * len(weights) + TABLES, tensors=20 * len(state) + FEW, draw=False)
    with torch.random.fork_rng(devices=[]):  # plugins may draw weights, which are replaced
        try:
            system = build_system(config, Target.by_name(config.classes), allowance=allowance)
        except ToolkitError as error:
            raise BundleError(f"{CONFIG}: {one_line(str(error))}") from error
    load_weights(system, state)
    for name, level in system.levels.items():
        level.pretrained = config.training.pretrained.get(name)
        level.random_backbone = name in config.training.random_backbones
    answer = answer_to_trial(system.eval(), audio=config.audio, predict_from=config.predict_from)
    if not np.allclose(answer, config.trial, rtol=0, atol=TOLERANCE):  # NaN is never close
        changed = [f"{n} {v}" for n, v in config.exported_with.items() if n != "python" and _installed(n) != v]
        versions = f"It was exported with {', '.join(changed)}." if changed else "The versions are the same."
        found = "the prediction for the trial sound differs from that at export"
        raise BundleError(f"{found}: its plugins or libraries compute something else here. {versions}")
    return system


def _check_parts(config: BundleConfig) -> None:
    """Refuse plugins that are not installed and arguments that lead out of the bundle; drop arguments that are retired.

    Other versions of the plugins' distributions are a warning.
    """
    for kind, location, part in config.parts():
        try:
            cls = find_part(kind, part).load()
        except UnknownPlugin as error:
            distribution, _, name = part.plugin.rpartition(":")
            wanted = f"It needs {kind} {name!r} of {distribution} {config.distributions.get(distribution, '')}".rstrip()
            problem = "which is not installed here: install it if you trust it"
            raise BundleError(f"{one_line(wanted)}, {problem}.") from error
        for name in getattr(cls, "retired", ()):  # used in training alone
            part.args.pop(name, None)
        for name, alone in getattr(cls, "standalone_args", {}).items():  # names no file, hub or download
            if (found := part.args.get(name, ...)) != alone:
                shown = f"{CONFIG}: {location}.args.{name} is {'missing' if found is ... else one_line(repr(found))}"
                raise BundleError(f"{shown}: {alone!r} is needed, since a bundle is self-contained.")
    for distribution, exported in config.distributions.items():
        if (here := _installed(distribution)) not in (exported, None):
            found = f"exported with {distribution} {exported}, but {here} is installed here"
            logger.warning("%s: %s.", config.name, found)


def _installed(distribution: str) -> str | None:
    try:
        return version(distribution)
    except (PackageNotFoundError, ValueError):  # a bundle may hold any name, an empty one too
        return None
