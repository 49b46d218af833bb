"""A bundle's system: its weights to and from model.safetensors, and its prediction for the trial sound.

The trial sound is synthetic and the same everywhere; every bundle holds its system's prediction for it. Weights that
fit do not prove that the code around them is the code they were trained with. The prediction nearly does: if a plugin
or a library computes something else, it differs.
"""

import random
from collections.abc import Mapping

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from toolkit.contracts import Seq
from toolkit.corpus.targets import Target
from toolkit.corpus.utterance import MIN_SAMPLES
from toolkit.errors import BundleError, one_line
from toolkit.inference.bundle.archive import WEIGHTS
from toolkit.model.system import System
from toolkit.recipe.schema import AudioSpec

TOLERANCE = 1e-3  # of a probability: processors and libraries round differently, and stay far below it


def weights_of(system: System) -> bytes:
    """A system's parameters and buffers as the bytes of a safetensors file.

    Raises: BundleError if a part of the state is not a tensor, or not finite.
    """
    state = system.state_dict()
    if odd := [name for name, value in state.items() if not isinstance(value, Tensor)]:
        raise BundleError(f"The system's state holds {odd[0]}, which is not a tensor: {WEIGHTS} cannot hold it.")
    _refuse_not_finite(state, "The system")
    return save({name: value.detach().cpu().contiguous().clone() for name, value in state.items()})


def load_weights(system: System, data: bytes) -> None:
    """Load the state of a safetensors file into a system; all of it has to fit, by name, shape and dtype.

    Raises: BundleError if the file is damaged, or does not hold exactly this system's state; the system is as before.
    """
    try:
        found = load(data)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise BundleError(f"{WEIGHTS} is damaged ({one_line(error)}): get the bundle again.") from None
    kinds, expected = _kinds(found), _kinds(system.state_dict())
    for name in sorted(expected | kinds):
        if kinds.get(name) != expected.get(name):
            raise BundleError(
                f"{WEIGHTS}: {one_line(name)} is {kinds.get(name, 'missing')}; the system of its config.json has "
                f"{expected.get(name, 'no such tensor')}."
            )
    _refuse_not_finite(found, WEIGHTS)
    system.load_state_dict(found)


def _kinds(state: Mapping[str, Tensor]) -> dict[str, str]:
    return {name: f"{str(t.dtype).removeprefix('torch.')} {list(t.shape)}" for name, t in state.items()}


def _refuse_not_finite(state: Mapping[str, Tensor], what: str) -> None:
    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise BundleError(f"{what} has values that are not finite in {name}.")


def trial_wave(samples: int, *, sample_rate: int) -> np.ndarray:
    """A voice-like sound in noise: harmonics that rise and pulse.

    Args: samples: how many; sample_rate: in Hz.

    Returns: [samples], float32.

    >>> [f"{value:.4f}" for value in trial_wave(3, sample_rate=16000)]
    ['-0.0073', '0.0451', '0.0754']
    """
    time = np.arange(samples) / sample_rate  # in seconds
    phase = 2 * np.pi * (120 * time + 20 * np.sin(2 * np.pi * 0.7 * time))
    voice = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 9))
    pulse = 0.6 + 0.4 * np.sin(2 * np.pi * 3 * time)
    draw = random.Random(1).random  # the one generator whose numbers Python promises to keep
    noise = np.resize([draw() - 0.5 for _ in range(min(samples, sample_rate))], samples)
    return (0.1 * pulse * voice + 0.02 * noise).astype(np.float32)


@torch.no_grad()
def answer_to_trial(system: System, *, audio: AudioSpec, predict_from: str) -> tuple[float, ...]:
    """The probabilities of the labels for one segment of the trial sound, with the first value of each covariate.

    Args: system: in eval() mode; audio: sample rate and longest segment; predict_from: the head that answers.

    Raises: BundleError if the system cannot be run.
    """
    try:
        samples = system.fixed_samples or max(audio.segment_samples, MIN_SAMPLES)
        wave = torch.from_numpy(trial_wave(samples, sample_rate=audio.sample_rate))[None]  # [1, samples]
        given = {name: torch.zeros(1, dtype=torch.int64) for name in system.given_covariates}
        logits = system(Seq(wave, torch.tensor([samples])), given).logits[predict_from]
        return tuple(Target.probabilities(Target.scores(logits)[0].double().numpy()).tolist())
    except Exception as error:  # a plugin's code may raise anything
        raise BundleError(f"The system cannot be run: {one_line(error)}") from error
