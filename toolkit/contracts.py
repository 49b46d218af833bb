"""The interfaces between the parts of a system, and the values that they exchange.

A plugin's constructor receives the recipe's `args` and those context arguments that it names. The system gives the
context (`toolkit.plugins.kinds` lists it by kind); recipes cannot set it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from toolkit.errors import ShapeError

__all__ = ["Augmentation", "Extractor", "Fusion", "Head", "LevelShape", "Loss", "Mix", "ModelOutput", "Seq"]


@dataclass(frozen=True)
class Seq:
    """Values along time with the real length of each row; values beyond a length are garbage.

    Where it is `full`, every row is as long as the time axis: nothing is masked, and nothing waits for the device.

    Raises: ShapeError if batch sizes differ or `lengths` is not of an integer dtype; its values are not read.
    """

    values: Tensor  # [batch, time] (a waveform) or [batch, time, channels]
    lengths: Tensor  # [batch], int64, in time steps
    full: bool = field(default=False, kw_only=True)  # False: not known

    def __post_init__(self):
        if self.values.dim() not in (2, 3):
            raise ShapeError(f"Seq values are [batch, time] or [batch, time, channels], not {list(self.values.shape)}")
        if self.lengths.shape != self.values.shape[:1]:
            raise ShapeError(f"Seq lengths {list(self.lengths.shape)} do not match {self.values.shape[0]} rows")
        if self.lengths.is_floating_point():
            raise ShapeError(f"Seq lengths count time steps: an integer dtype is needed, not {self.lengths.dtype}")

    @property
    def mask(self) -> Tensor:
        """True where a time step is real: [batch, time]."""
        steps = torch.arange(self.values.shape[1], device=self.values.device)
        return steps < self.lengths[:, None]

    def zeroed(self) -> "Seq":
        """The same with zeros beyond the lengths (NaN there does not survive)."""
        return self if self.full else self.filled(0)

    def filled(self, value: float) -> "Seq":
        """The same with a value beyond the lengths."""
        mask = self.mask if self.values.dim() == 2 else self.mask[:, :, None]
        return Seq(self.values.masked_fill(~mask, value), self.lengths)

    def to(self, device: torch.device | str) -> "Seq":
        """The same on another device."""
        values, lengths = (tensor.to(device, non_blocking=True) for tensor in (self.values, self.lengths))
        return Seq(values, lengths, full=self.full)

    def pin_memory(self) -> "Seq":
        """The same in memory from which a GPU copies while the CPU goes on."""
        return Seq(self.values.pin_memory(), self.lengths.pin_memory(), full=self.full)


@dataclass(frozen=True)
class LevelShape:
    """A level before a fusion sees data: size of its frames' last axis, and frames of a whole segment."""

    channels: int
    frames: int


@dataclass(frozen=True)
class ModelOutput:
    """What a system returns for a batch of segments."""

    embeddings: dict[str, Tensor]  # name ("fused", then each level) -> [batch, size]
    logits: dict[str, Tensor]  # head -> [batch, classes]
    covariate_logits: dict[str, Tensor] = field(default_factory=dict)  # predicted covariate -> [batch, classes]


@dataclass(frozen=True)
class Mix:
    """How the rows of a batch were mixed: row i is `share` of itself and the rest of row `partners[i]`."""

    partners: Tensor  # [batch], int64, on the CPU; a permutation
    share: float  # above 0, at most 1

    def of(self, values: Tensor) -> Tensor:
        """Values [batch, size] in these shares: [batch, size]."""
        return self.share * values + (1 - self.share) * values[self.partners.to(values.device)]


class Extractor(nn.Module):
    """Waveform -> frames, in two steps: `features` learns nothing and is cacheable, `encode` learns.

    Subclasses set `channels` and implement `frame_count`, `features` and `encode`; those with something to learn from
    the training part before training (a scaler) set `fits = True` and implement `fit`, and keep what they find in
    buffers. Context arguments: sample_rate (Hz), segment_samples.
    """

    channels: int  # size of the last axis of what `encode` returns
    # The only length that `features` can take: the core pads with silence, which then counts as real, or cuts to it.
    fixed_samples: int | None = None  # None: any length
    fits: bool = False  # whether `fit` has to be called before training
    front_end_args: Mapping[str, Any] = {}  # what `features` depends on beside the audio, JSON-able: the cache's key
    standalone_args: Mapping[str, Any] = {}  # argument that can name a file or download -> what names none, for bundles
    # A bundle sets both to what they were in training.
    pretrained: str | None = None  # which pre-trained weights are loaded; None: random ones, or nothing to load
    random_backbone: bool = False  # whether a backbone that users expect to be pre-trained has random weights

    def frame_count(self, samples: int) -> int:
        """Number of frames that `encode` returns for a waveform of `samples` samples."""
        raise NotImplementedError

    def features(self, wave: Seq) -> Seq:
        """Deterministic front end without learned state, also in train() mode; it may run in a forked process.

        Args: wave [batch, samples]; lengths in samples.
        Returns: [batch, time, channels]; lengths in frames.
        """
        raise NotImplementedError

    def fit(self, features: Iterable[Seq]) -> None:
        """Learn scaling from batches of the training part's features; called once, if `fits`."""

    def set_frozen(self, frozen: bool) -> None:
        """Freeze the pre-trained weights, which then belong to `features`, or let them be trained as built.

        `training.probe` trains the rest of a system while they are frozen. Does nothing where none are pre-trained.
        """

    def encode(self, features: Seq) -> Seq:
        """What learns.

        Args: features as `features` returns them.
        Returns: [batch, frames, channels] with `self.channels` channels; lengths in frames, at least 1.
        """
        raise NotImplementedError

    def layer_parameters(self) -> Sequence[Sequence[nn.Parameter]]:
        """Pre-trained weights by layer, from the input on, for `layer_decay`; those of none are left out."""
        return ()

    def merge(self) -> None:
        """Fold what only training needs, such as adapters, into the weights; called once, before a bundle is made."""

    def portable_args(self) -> Mapping[str, Any]:
        """`standalone_args` and what else builds the same module without a checkpoint: argument -> value, JSON-able.

        They replace the recipe's in a bundle, whose weights are loaded afterwards.
        """
        return self.standalone_args

    def forward(self, wave: Seq) -> Seq:
        """`encode(features(wave))`."""
        return self.encode(self.features(wave))


class Fusion(nn.Module):
    """Frames of all levels -> embeddings: "fused" (reserved) and one for each level.

    Context arguments: levels (name -> LevelShape, in the recipe's order), covariates (name -> size), segment_samples.
    """

    sizes: Mapping[str, int]  # embedding name -> size; holds "fused" and every level
    fixed_samples: int | None = None  # as for an Extractor
    fits: bool = False  # whether `fit` has to be called before training

    def fit(self, levels: Iterable[Mapping[str, Seq]]) -> None:
        """Learn scaling from batches of the training part (level -> [batch, frames, channels]); once, if `fits`."""

    def forward(self, levels: Mapping[str, Seq], covariates: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Embeddings [batch, size] of levels [batch, frames, channels] and covariates (probabilities [batch, size])."""
        raise NotImplementedError


class Head(nn.Module):
    """One embedding -> logits of one target. Context arguments: size (of the embedding), classes (their number).

    One that `fits` is fitted before training, and epoch 0 validates it.
    """

    fits: bool = False

    def fit(self, rows: Iterable[tuple[Tensor, Tensor, Tensor]]) -> None:
        """Learn from batches of the training part.

        Args: rows: the embedding [batch, size], classes [batch], every one known, and groups [batch]: a number for each
            speaker, or for each utterance where the speaker is not known.
        """

    def forward(self, embedding: Tensor) -> Tensor:
        """[batch, size] -> [batch, classes]."""
        raise NotImplementedError


class Loss(nn.Module):
    """A training loss on a head's logits or on an embedding.

    Context arguments: size (of what it reads), classes (of the target), class_counts (training segments by class).
    """

    reads: Literal["logits", "embedding"] = "logits"  # what `on` names: a head or an embedding

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss over the rows.

        Args: inputs [batch, size]; targets [batch], int64, every one a known class.
        Returns: scalar.
        """
        raise NotImplementedError

    def of_shares(self, inputs: Tensor, targets: Tensor, share: float) -> Tensor:
        """`forward` of rows of which a share is their target's (`Mix`); what a loss keeps of them counts as much."""
        return self(inputs, targets)

    def denominator(self, targets: Tensor) -> Tensor | None:
        """What `forward` divides the sum over its rows by; by default the number of rows.

        Several processes call `forward` on a part of the batch each; the batch's value is their sum by denominators.

        Args: targets [batch], as `forward` gets them.
        Returns: 0-d, on their device; None for a loss that is a sum, divided by nothing.
        """
        return torch.full((), float(len(targets)), device=targets.device)

    def after_step(self, taken: Tensor) -> None:
        """Called once after each optimizer step, `taken` False (a 0-d bool tensor) if it was skipped.

        A skipped step (non-finite gradients) must leave the state as if its batches had not been seen. When several
        processes train together, each calls it, also one that has seen no row; what depends on rows must be summed over
        the processes with `toolkit.distributed.summed`.
        """


class Augmentation:
    """A random change of what a system is trained on; validation, test and prediction never see it.

    Random numbers come from the generator alone, so that a resumed run draws them again; the core draws whether a row
    or batch is changed at all (the recipe's `p`). Context arguments: sample_rate (Hz), segment_samples.
    """

    # A waveform or the features of one level, for `change`; or a batch of the features of all levels, for `mix`.
    reads: Literal["wave", "features", "batch"] = "wave"
    fits: bool = False  # whether `fit` has to be called first; of those that read features

    def fit(self, features: Iterable[Seq]) -> None:
        """Learn from batches of a level's training features [batch, time, channels]."""

    def change(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """One row, changed; the row given is left as it is.

        Args: values [samples], or [time, channels] of features on any device: all real; generator on the CPU.
        Returns: a waveform of any length from 1 (the core cuts it to a segment's), or features of the same shape.
        """
        raise NotImplementedError

    def mix(self, features: Mapping[str, Seq], generator: torch.Generator) -> tuple[Mapping[str, Seq], Mix]:
        """Rows of a batch mixed with each other, and how: losses and covariates are mixed in the same shares.

        Args: features level -> [batch, time, channels]; generator on the CPU.
        Returns: the same levels, shapes and lengths; the shares.
        """
        raise NotImplementedError
