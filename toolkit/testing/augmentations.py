"""The contract of augmentations, property by property."""

import pickle
import random
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import numpy as np
import torch

from toolkit.contracts import Augmentation, Mix, Seq
from toolkit.plugins.plugin import described
from toolkit.testing import Case, contract, require
from toolkit.testing.modules import GARBAGE, require_equal, require_unwritten

SEEDS = range(4)  # of generators: some faults show only for some draws


@dataclass(frozen=True)
class AugmentationCase(Case):
    """An augmentation to examine."""

    sample_rate: int = 16_000
    segment_samples: int = 8_000
    channels: int = 20  # of features
    kind: ClassVar[str] = "augmentation"
    basic = (*Case.basic, "results_fit", "input_is_left_alone", "generator_decides")

    def build(self) -> Augmentation:
        """A new augmentation, fitted if it `fits`."""
        augmentation = super().build()
        if augmentation.fits:
            augmentation.fit([self._features((30, 20)), self._features((25,))])
        return augmentation

    def trials(self, augmentation: Augmentation) -> list[tuple[Any, int]]:
        """Inputs with seeds: rows from a whole segment to a single value, and silence; or a batch of two levels."""
        if augmentation.reads == "batch":
            inputs = [{"one": self._features((30, 12, 1, 30)), "other": self._features((9, 4, 1, 9))}]
        elif augmentation.reads == "features":
            rows = [self._features((length,)).values[0] for length in (30, 7, 1)]
            inputs = [*rows, torch.zeros(30, self.channels)]
        else:
            tone = 0.3 * torch.sin(torch.arange(self.segment_samples) * 0.1)
            waves = [tone[:length] + 0.01 * torch.randn(length) for length in (self.segment_samples, 1_001, 16, 1)]
            inputs = [*waves, torch.zeros(1_000)]
        return list(product(inputs, SEEDS))

    def outputs(self, augmentation: Augmentation, given: Any, seed: int) -> Any:
        """The result for one input and a generator of that seed: a tensor, or features with their Mix."""
        name, kind = ("mix", tuple) if augmentation.reads == "batch" else ("change", torch.Tensor)
        made = getattr(augmentation, name)(given, torch.Generator().manual_seed(seed))
        require(isinstance(made, kind), f"`{name}` must give a {kind.__name__}, and gave {described(made)}")
        return made

    @contract
    def attributes_are_as_declared(self) -> None:
        """Its attributes have the types of `toolkit.contracts.Augmentation`; it `fits` only if it reads features."""
        super().attributes_are_as_declared()
        augmentation = super().build()
        fits = augmentation.reads == "features" or not augmentation.fits
        require(fits, f"fits is True, and reads is {augmentation.reads!r}")

    @contract
    def results_fit(self) -> None:
        """Finite float32, also for silence: a waveform of at least one sample, or features of the same shape."""
        augmentation = self.build()
        for given, seed in self.trials(augmentation):
            made = self.outputs(augmentation, given, seed)
            if augmentation.reads == "batch":
                _require_mixed(given, *made)
            else:
                fits = made.shape == given.shape or (augmentation.reads == "wave" and made.dim() == 1 and len(made))
                require(fits, f"{list(given.shape)} becomes {list(made.shape)}")
            for tensor in _values(made):
                require(tensor.dtype == torch.float32, f"float32 becomes {tensor.dtype}")
                silence = "" if any(value.any() for value in _values(given)) else " of silence"
                require(tensor.isfinite().all(), f"not finite, given {list(_values(given)[0].shape)}{silence}")

    @contract
    def generator_decides(self) -> None:
        """Equal generators give bit-identical results, in a worker's pickled copy too; nothing else is drawn."""
        augmentation = self.build()
        trials = self.trials(augmentation)
        before = _global_states()
        first = [deepcopy(_values(self.outputs(augmentation, *trial))) for trial in trials]
        copy = pickle.loads(pickle.dumps(augmentation))
        for trial, expected in reversed([*zip(trials, first, strict=True)]):
            for found, value in zip(_values(self.outputs(copy, *trial)), expected, strict=True):
                require_equal(found, value, 0, "the same generator, a second time")
        require(_global_states() == before, "draws from a global generator")

    @contract
    def input_is_left_alone(self) -> None:
        """The augmentation does not write into what it is given."""
        augmentation = self.build()
        for given, seed in self.trials(augmentation):
            require_unwritten(lambda values, seed=seed: self.outputs(augmentation, values, seed), given)

    @contract
    def padding_changes_nothing(self) -> None:
        """What lies beyond the lengths of a batch does not reach its real frames."""
        augmentation = self.build()
        for given, seed in self.trials(augmentation) if augmentation.reads == "batch" else ():
            expected, _ = self.outputs(augmentation, given, seed)
            for garbage in GARBAGE:
                dirty = {level: seq.filled(garbage) for level, seq in given.items()}
                found, _ = self.outputs(augmentation, dirty, seed)
                require_equal(found, expected, 0, f"with {garbage} beyond the lengths")

    def _features(self, lengths: tuple[int, ...]) -> Seq:
        return Seq(torch.randn(len(lengths), max(lengths), self.channels), torch.tensor(lengths)).zeroed()


def _global_states() -> bytes:
    return pickle.dumps((torch.get_rng_state().tolist(), np.random.get_state(), random.getstate()))


def _values(made: Any) -> list[torch.Tensor]:
    """The tensors of values in an input or a result, without lengths."""
    made = made[0] if isinstance(made, tuple) else made
    return [made] if isinstance(made, torch.Tensor) else [seq.values for seq in made.values()]


def _require_mixed(given: dict[str, Seq], features: dict[str, Seq], mix: Mix) -> None:
    require(list(features) == list(given), f"levels {list(given)} become {list(features)}")
    for level, seq in given.items():
        found = features[level]
        same = found.values.shape == seq.values.shape and torch.equal(found.lengths, seq.lengths)
        require(same, f"level {level!r}: {list(seq.values.shape)} becomes {list(found.values.shape)}, or other lengths")
    rows, partners = len(next(iter(given.values())).lengths), mix.partners.tolist()
    require(sorted(partners) == list(range(rows)), f"partners {partners} are not a permutation")
    require(0 < mix.share <= 1, f"share is {mix.share}, not above 0 and at most 1")
