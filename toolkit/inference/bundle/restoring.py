"""Builds a bundle's system and tries it on a synthetic sound, the same everywhere (docs/decisions/0008-trial.md)."""

import logging
import random
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch
from torch import Tensor

from toolkit.contracts import Seq
from toolkit.corpus.targets import Target
from toolkit.corpus.utterance import MIN_SAMPLES
from toolkit.errors import BundleError, ToolkitError, UnknownPlugin, one_line
from toolkit.inference.bundle.config import CONFIG, BundleConfig
from toolkit.model.allowance import Allowance
from toolkit.model.archive import WEIGHTS
from toolkit.model.system import System, build_system
from toolkit.plugins.registry import find_part
from toolkit.recipe.schema import Recipe

TOLERANCE = 1e-3  # of a probability; far above the rounding of different processors and libraries
LARGEST_TENSOR = 1 << 30  # bytes of any tensor in the trial
TRIAL_SECONDS = 60.0
TABLES = 256 << 20  # bytes that building may take in addition to the weights, for tables that plugins compute
FEW = 1000  # tensors that building may make in addition to the weights

logger = logging.getLogger("toolkit")


def trial_wave(samples: int, *, sample_rate: int) -> np.ndarray:
    """A voice-like sound in noise, harmonics that rise and pulse: [samples], float32."""
    time = np.arange(samples) / sample_rate  # in seconds
    phase = 2 * np.pi * (120 * time + 20 * np.sin(2 * np.pi * 0.7 * time))
    voice = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 9))
    pulse = 0.6 + 0.4 * np.sin(2 * np.pi * 3 * time)
    draw = random.Random(1).random  # Python promises that random() keeps its numbers
    noise = np.resize([draw() - 0.5 for _ in range(min(samples, sample_rate))], samples)
    return (0.1 * pulse * voice + 0.02 * noise).astype(np.float32)


@torch.no_grad()
def answer_to_trial(system: System, config: Recipe | BundleConfig) -> tuple[float, ...]:
    """A system's probabilities for a segment of the trial sound with each covariate's first value, or a BundleError."""
    try:
        samples = system.fixed_samples or max(config.audio.segment_samples, MIN_SAMPLES)
        wave = torch.from_numpy(trial_wave(samples, sample_rate=config.audio.sample_rate))[None]  # [1, samples]
        given = {name: torch.zeros(1, dtype=torch.int64) for name in system.given_covariates}
        with Allowance(LARGEST_TENSOR, tensors=None, seconds=TRIAL_SECONDS):
            logits = system(Seq(wave, torch.tensor([samples])), given).logits[config.predict_from]
        return tuple(Target.probabilities(Target.scores(logits)[0].double().numpy()).tolist())
    except Exception as error:  # a plugin's code may raise anything
        reason = error if isinstance(error, ToolkitError) else one_line(error)
        raise BundleError(f"The system cannot be run: {reason}") from error


def restore_system(config: BundleConfig, state: Mapping[str, Tensor]) -> System:
    """Build the system in eval() mode, with these weights; ToolkitError if they do not fit or the trial differs."""
    _check_parts(config)
    size = sum(tensor.nbytes for tensor in state.values())
    allowance = Allowance(2 * size + TABLES, tensors=20 * len(state) + FEW, draw=False)
    try:
        with torch.random.fork_rng(devices=[]):  # plugins may draw weights, which are replaced
            system = build_system(config, Target.by_name(config.classes), allowance=allowance)
        system.load_state_dict(state)
    except ToolkitError as error:
        raise BundleError(f"{CONFIG}: {one_line(str(error))}") from error
    except RuntimeError as error:
        raise BundleError(f"{WEIGHTS} does not fit the system of its {CONFIG} ({one_line(error)}).") from None
    for name, level in system.levels.items():
        level.pretrained = config.training.pretrained.get(name)
        level.random_backbone = name in config.training.random_backbones
    answer = answer_to_trial(system.eval(), config)
    if not np.allclose(answer, config.trial, rtol=0, atol=TOLERANCE):  # NaN is never close
        changed = [f"{n} {v}" for n, v in config.exported_with.items() if n != "python" and _installed(n) != v]
        versions = f"It was exported with {', '.join(changed)}." if changed else "The versions are the same."
        found = "the prediction for the trial sound differs from that at export"
        raise BundleError(f"{found}: its plugins or libraries compute something else here. {versions}")
    return system


def _check_parts(config: BundleConfig) -> None:
    """Refuse missing plugins and arguments that lead out of the bundle; drop retired ones; warn of other versions."""
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
            logger.warning(f"{config.name}: exported with {distribution} {exported}, but {here} is installed here.")


def _installed(distribution: str) -> str | None:
    try:
        return version(distribution)
    except (PackageNotFoundError, ValueError):  # a bundle may hold any name, an empty one too
        return None
