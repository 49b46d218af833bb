"""The trial sound, and a system's prediction for it.

The trial sound is synthetic and the same everywhere; every bundle holds its system's prediction for it. Weights that
fit do not prove that the code around them is the code they were trained with. The prediction nearly does: it differs
if a plugin or a library computes something else.
"""

import random

import numpy as np
import torch

from toolkit.contracts import Seq
from toolkit.corpus.targets import Target
from toolkit.corpus.utterance import MIN_SAMPLES
from toolkit.errors import BundleError, ToolkitError, one_line
from toolkit.model.allowance import Allowance
from toolkit.model.system import System
from toolkit.recipe.schema import AudioSpec

TOLERANCE = 1e-3  # of a probability; far above the rounding of different processors and libraries
LARGEST_TENSOR = 1 << 30  # bytes of any tensor in the trial
TRIAL_SECONDS = 60.0


def trial_wave(samples: int, *, sample_rate: int) -> np.ndarray:
    """A voice-like sound in noise, harmonics that rise and pulse: [samples], float32.

    >>> [f"{value:.4f}" for value in trial_wave(3, sample_rate=16000)]
    ['-0.0073', '0.0451', '0.0754']
    """
    time = np.arange(samples) / sample_rate  # in seconds
    phase = 2 * np.pi * (120 * time + 20 * np.sin(2 * np.pi * 0.7 * time))
    voice = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 9))
    pulse = 0.6 + 0.4 * np.sin(2 * np.pi * 3 * time)
    draw = random.Random(1).random  # Python promises that random() keeps its numbers
    noise = np.resize([draw() - 0.5 for _ in range(min(samples, sample_rate))], samples)
    return (0.1 * pulse * voice + 0.02 * noise).astype(np.float32)


@torch.no_grad()
def answer_to_trial(system: System, *, audio: AudioSpec, predict_from: str) -> tuple[float, ...]:
    """A system's probabilities, in eval() mode, for one segment of the trial sound with each covariate's first value.

    Raises: BundleError if the system cannot be run.
    """
    try:
        samples = system.fixed_samples or max(audio.segment_samples, MIN_SAMPLES)
        wave = torch.from_numpy(trial_wave(samples, sample_rate=audio.sample_rate))[None]  # [1, samples]
        given = {name: torch.zeros(1, dtype=torch.int64) for name in system.given_covariates}
        with Allowance(LARGEST_TENSOR, tensors=None, seconds=TRIAL_SECONDS):
            logits = system(Seq(wave, torch.tensor([samples])), given).logits[predict_from]
        return tuple(Target.probabilities(Target.scores(logits)[0].double().numpy()).tolist())
    except Exception as error:  # a plugin's code may raise anything
        reason = error if isinstance(error, ToolkitError) else one_line(error)
        raise BundleError(f"The system cannot be run: {reason}") from error
