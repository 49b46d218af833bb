"""The base classes that plugins implement, and the values that the parts of a system exchange.

A plugin's constructor receives the recipe's `args` and the context arguments that it names. The system gives the
context (`toolkit.plugins.kinds` lists it by kind); recipes cannot set it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from toolkit.errors import ShapeError

__all__ = ["Augmentation", "Extractor", "Fusion", "Head", "LevelShape", "Loss", "Mix", "ModelOutput", "Seq"]

FLOATS = (torch.float32, torch.bfloat16, torch.float16)  # dtypes of frames, embeddings, logits and losses


@dataclass(frozen=True)
class Seq:
    """A batch of sequences and the real length of each row; values beyond a row's length are garbage.

    `full` states that every row fills the time axis: nothing is masked, and no length is read from the device.
    Raises: ShapeError if the shapes do not fit or `lengths` is not of an integer dtype; the lengths are not checked.
    """

    values: Tensor  # [batch, time] (a waveform) or [batch, time, channels]
    lengths: Tensor  # [batch], int64, in time steps
    full: bool = field(default=False, kw_only=True)  # False: unknown

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
        """This Seq with zeros beyond the lengths, also in place of NaN."""
        return self if self.full else self.filled(0)

    def filled(self, value: float) -> "Seq":
        """This Seq with `value` beyond the lengths."""
        mask = self.mask if self.values.dim() == 2 else self.mask[:, :, None]
        return Seq(self.values.masked_fill(~mask, value), self.lengths)

    def to(self, device: torch.device | str) -> "Seq":
        """This Seq on another device."""
        values, lengths = (tensor.to(device, non_blocking=True) for tensor in (self.values, self.lengths))
        return Seq(values, lengths, full=self.full)

    def pin_memory(self) -> "Seq":
        """This Seq in page-locked memory, from which a GPU copies while the CPU goes on."""
        return Seq(self.values.pin_memory(), self.lengths.pin_memory(), full=self.full)


@dataclass(frozen=True)
class LevelShape:
    """What a fusion knows about a level when it is built: channels of its frames, and frames of a whole segment."""

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
    """How the rows of a batch were mixed: row i became share * row i + (1 - share) * row partners[i]."""

    partners: Tensor  # [batch], int64, on the CPU; a permutation
    share: float  # above 0, at most 1

    def of(self, values: Tensor) -> Tensor:
        """Values [batch, size], mixed in the same shares: [batch, size]."""
        return self.share * values + (1 - self.share) * values[self.partners.to(values.device, non_blocking=True)]


class Extractor(nn.Module):
    """Waveform -> frames in two steps: `features` is not trained, so its result can be cached; `encode` is trained.

    Subclasses set `channels` and implement `frame_count`, `features` and `encode`. One that needs statistics of the
    training part (a scaler, for example) sets `fits = True`, implements `fit` and keeps the statistics in buffers.
    Context arguments: sample_rate (Hz), segment_samples.
    """

    channels: int  # size of the last axis of `encode`'s result
    # The only length that `features` accepts: the core cuts to it, or pads with silence, which then counts as real.
    fixed_samples: int | None = None  # None: any length
    fits: bool = False  # whether `fit` must be called before training
    front_end_args: Mapping[str, Any] = {}  # all that `features` depends on except the audio, as JSON: the cache's key
    standalone_args: Mapping[str, Any] = {}  # argument that may name a file or download -> value for bundles
    # A bundle sets both to their values in training.
    pretrained: str | None = None  # which pre-trained weights are loaded; None: random weights, or nothing to load
    random_backbone: bool = False  # whether a backbone that users expect to be pre-trained has random weights

    def frame_count(self, samples: int) -> int:
        """Number of frames that `encode` returns for a waveform of `samples` samples."""
        raise NotImplementedError

    def features(self, wave: Seq) -> Seq:
        """The front end: not trained, deterministic in train() mode too; it may run in a forked process.

        [batch, samples] with lengths in samples -> [batch, time, channels] with lengths in frames.
        """
        raise NotImplementedError

    def fit(self, features: Iterable[Seq]) -> None:
        """Learn, for example scaling, from batches of the training part's features; called once, if `fits`."""

    def set_frozen(self, frozen: bool) -> None:
        """Freeze all pre-trained weights, which then belong to `features`, or only those that the recipe freezes.

        In the phase `training.probe` all of them are frozen. Without pre-trained weights it does nothing.
        """

    def encode(self, features: Seq) -> Seq:
        """The trained part: what `features` returns -> [batch, frames, self.channels]; lengths in frames, 1 or more."""
        raise NotImplementedError

    def layer_parameters(self) -> Sequence[Sequence[nn.Parameter]]:
        """Pre-trained weights by layer, the input's first, for `layer_decay`; weights of no layer are left out."""
        return ()

    def merge(self) -> None:
        """Fold what only training needs, such as adapters, into the weights; called once, before the bundle is made."""

    def merged_name(self, name: str) -> str | None:
        """What a weight of this name in the state is called after `merge`; None if it is folded into others."""
        return name

    def portable_args(self) -> Mapping[str, Any]:
        """Arguments, as JSON, that build the same module without a checkpoint; they include `standalone_args`.

        In a bundle they replace the recipe's, and the bundle's weights are loaded afterwards.
        """
        return self.standalone_args

    def forward(self, wave: Seq) -> Seq:
        """`encode(features(wave))`."""
        return self.encode(self.features(wave))


class Fusion(nn.Module):
    """Frames of all levels -> embeddings: "fused" (a reserved name) and one for each level.

    Context arguments: levels (name -> LevelShape, in the recipe's order), covariates (name -> size), segment_samples.
    """

    sizes: Mapping[str, int]  # embedding -> size; holds "fused" and every level
    fixed_samples: int | None = None  # as for an Extractor
    fits: bool = False  # whether `fit` must be called before training

    def fit(self, levels: Iterable[Mapping[str, Seq]]) -> None:
        """Learn from batches of the training part: level -> [batch, frames, channels]; called once, if `fits`.

        What it learns is kept in buffers: parameters are for training by steps.
        """

    def forward(self, levels: Mapping[str, Seq], covariates: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Embeddings, name -> [batch, size], for every name in `sizes`.

        Args: levels: name -> [batch, frames, channels]; covariates: name -> probabilities [batch, size].
        """
        raise NotImplementedError


class Head(nn.Module):
    """One embedding -> logits of one target.

    Context arguments: size (of the embedding), sizes (of the embeddings that it is concatenated from, in order: a
    recipe's head may read several), classes (their number).

    A head that `fits` is fitted before training and validated as epoch 0.
    """

    fits: bool = False  # whether `fit` must be called before training

    def fit(self, rows: Iterable[tuple[Tensor, Tensor, Tensor]]) -> None:
        """Learn from batches of the training part.

        Args: rows: embeddings [batch, size], classes [batch], none unknown, and groups [batch]: the speaker's number,
            or a number for each utterance whose speaker is unknown.
        """

    def forward(self, embedding: Tensor) -> Tensor:
        """[batch, size] -> [batch, classes]."""
        raise NotImplementedError


class Loss(nn.Module):
    """A training loss on a head's logits or on an embedding.

    Context arguments: size (of its inputs), classes (their number), class_counts (training segments of each class).
    """

    reads: Literal["logits", "embedding"] = "logits"  # whether the recipe's `on` names a head or an embedding

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss over the rows: inputs [batch, size], targets [batch], int64, none unknown -> scalar."""
        raise NotImplementedError

    def of_shares(self, inputs: Tensor, targets: Tensor, share: float) -> Tensor:
        """`forward` for mixed rows (`Mix`): only `share` of a row belongs to its target, and counts in the state."""
        return self(inputs, targets)

    def denominator(self, targets: Tensor) -> Tensor | None:
        """What `forward` divides its sum over the rows by; by default the number of rows.

        Several processes call `forward` on parts of a batch; the batch's loss is their mean, weighted by denominators.

        Args: targets [batch], as `forward` gets them.
        Returns: 0-d, on the targets' device; None if `forward` returns a sum, which nothing divides.
        """
        return torch.full((), float(len(targets)), device=targets.device)

    def after_step(self, taken: Tensor) -> None:
        """Update state; called once after each optimizer step. `taken`, a 0-d bool tensor, is False for a skipped one.

        A skipped step (non-finite gradients) must leave the state as if its batches had not been seen. If several
        processes train together, all of them call this, even one that saw no row; sum what depends on rows over the
        processes with `toolkit.distributed.summed`.
        """


class Augmentation:
    """A random change of the training data; validation, test and prediction never see it.

    All random numbers come from the generator, so that a resumed run draws the same ones. The core draws whether a row
    or batch is changed at all (the recipe's `p`). Context arguments: sample_rate (Hz), segment_samples.
    """

    # "wave" or "features" (of one level): the core calls `change` on rows; "batch" (features of all levels): `mix`.
    reads: Literal["wave", "features", "batch"] = "wave"
    fits: bool = False  # whether `fit` must be called before training; only if it reads "features"

    def fit(self, features: Iterable[Seq]) -> None:
        """Learn from batches of a level's features [batch, time, channels] of the training part."""

    def change(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """Return a changed copy of one row; `values` itself must not change.

        Args: values [samples], or features [time, channels] on any device, without padding; generator on the CPU.
        Returns: a waveform of at least one sample (the core cuts it to a segment), or features of the same shape.
        """
        raise NotImplementedError

    def mix(self, features: Mapping[str, Seq], generator: torch.Generator) -> tuple[Mapping[str, Seq], Mix]:
        """Mix rows of a batch with each other; the core mixes losses and covariates in the same shares.

        Args: features level -> [batch, time, channels]; generator on the CPU.
        Returns: features with the same levels, shapes and lengths; how their rows were mixed.
        """
        raise NotImplementedError
