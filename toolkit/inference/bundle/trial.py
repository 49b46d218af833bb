"""The trial: a made-up sound, the same everywhere, to which every bundle carries its system's answer.

Weights that fit do not prove that the code around them is the code they were trained with. The answer does, well
enough: where a plugin or a library computes something else, it differs.
"""

import random
from collections.abc import Sequence

import numpy as np
import torch

from toolkit.contracts import Seq
from toolkit.corpus.targets import Target
from toolkit.corpus.utterance import MIN_SAMPLES
from toolkit.errors import BundleError
from toolkit.inference.bundle.config import one_line
from toolkit.model.system import System
from toolkit.recipe.schema import AudioSpec

TOLERANCE = 1e-3  # of a probability: processors and libraries round otherwise, and stay far below it


def trial_wave(samples: int, *, sample_rate: int) -> np.ndarray:
    """A voice-like sound in noise: harmonics that rise and pulse.

    Args:
        samples: how many.
        sample_rate: in Hz.

    Returns:
        [samples], float32.

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
    """The probabilities of the labels for one segment of the trial sound; of a covariate its first value is given.

    Args:
        system: in eval() mode.
        audio: sample rate and longest segment.
        predict_from: the head that answers.

    Raises:
        BundleError: if the system cannot be run.
    """
    try:
        samples = system.fixed_samples or max(audio.segment_samples, MIN_SAMPLES)
        wave = torch.from_numpy(trial_wave(samples, sample_rate=audio.sample_rate))[None]  # [1, samples]
        given = {name: torch.zeros(1, dtype=torch.int64) for name in system.given_covariates}
        output = system(Seq(wave, torch.tensor([samples])), given)
        return tuple(Target.probabilities(Target.scores(output.logits[predict_from][0]).double().numpy()).tolist())
    except Exception as error:  # a plugin's code may raise anything
        raise BundleError(f"The system cannot be run: {one_line(f'{type(error).__name__}: {error}')}") from error


def differ(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two answers are further apart than rounding."""
    return not np.allclose(one, other, rtol=0, atol=TOLERANCE)
