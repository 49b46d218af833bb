"""Cut utterances into segments, and put segments into batches."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from toolkit.audio.reading import stretch
from toolkit.audio.waves import read_audio
from toolkit.contracts import Mix, Seq
from toolkit.corpus import Utterance
from toolkit.corpus.targets import UNKNOWN
from toolkit.corpus.utterance import MIN_SAMPLES
from toolkit.errors import ToolkitError
from toolkit.plugins.plugin import plugin_failures

Key = str | tuple[str, ...]  # a level, for its features; or levels, for the waveform that theirs are computed from


@dataclass(frozen=True, slots=True)
class Segment:
    """Samples `start` to `stop`, at the system's rate, of an utterance, given by its index in a SegmentSet."""

    utterance: int
    start: int
    stop: int

    @property
    def samples(self) -> int:
        """Its length without padding."""
        return self.stop - self.start


@dataclass(frozen=True)
class Batch:
    """Segments with their targets."""

    inputs: Seq | Mapping[Key, Seq]  # of a System: the waveform [batch, samples] for all levels, or what levels get
    targets: Mapping[str, Tensor]  # name -> class indices [batch], int64; UNKNOWN if one is not known
    covariates: Mapping[str, Tensor]  # likewise
    utterances: Tensor  # [batch], int64, index into the SegmentSet's utterances
    weights: Tensor  # [batch], float32, the segment's weight in its utterance's mean
    draws: Sequence[int] = ()  # [batch], which segments these are; in training each is a `Draw`
    mix: Mix | None = None  # how rows were mixed with each other; None: they were not

    def to(self, device: torch.device | str) -> "Batch":
        """The same on another device (indices and weights of utterances stay where they are)."""
        return self._each(lambda v: v.to(device) if isinstance(v, Seq) else v.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """The same in pinned memory, from which a GPU copies while the CPU continues; a DataLoader calls it."""
        return self._each(lambda values: values.pin_memory())

    def unlabelled(self) -> "Batch":
        """The same with every target UNKNOWN, so that no row counts in a loss."""
        return replace(self, targets={name: torch.full_like(t, UNKNOWN) for name, t in self.targets.items()})

    def _each(self, change: Callable[[Tensor | Seq], Tensor | Seq]) -> "Batch":
        """The same, with `change` applied to everything that a system or an objective reads."""
        inputs, targets, covariates = (
            change(of) if isinstance(of, Seq) else {name: change(values) for name, values in of.items()}
            for of in (self.inputs, self.targets, self.covariates)
        )
        return replace(self, inputs=inputs, targets=targets, covariates=covariates)


def padded(rows: Sequence[Tensor]) -> Seq:
    """Pad rows of any lengths, each [time] or [time, channels], with zeros to one Seq."""
    lengths = [len(row) for row in rows]
    full = min(lengths) == max(lengths)
    return Seq(pad_sequence(list(rows), batch_first=True), torch.tensor(lengths), full=full)


def padded_waves(waves: Sequence[Tensor], *, fixed_samples: int | None) -> Seq:
    """Pad waveforms of segments, each [samples], with silence, as a system takes them.

    A wave counts as `MIN_SAMPLES` long at least; with `fixed_samples` as that long, and is padded or cut to it.
    """
    wave = padded(waves)
    lengths = wave.lengths.clamp_min(MIN_SAMPLES)
    width = int(lengths.max()) if fixed_samples is None else fixed_samples
    values = torch.nn.functional.pad(wave.values, (0, width - wave.values.shape[1]))
    lengths = lengths if fixed_samples is None else torch.full_like(lengths, width)
    return Seq(values, lengths, full=bool((lengths == width).all()))


class Items(Dataset):
    """Items that a loader's worker reads: each is its index with what `read` returns, or with the error that it raises.

    An error that a worker raises would reach the loader's process as another type, with a traceback in its message.
    """

    def __getitem__(self, index: int) -> tuple[int, Any]:
        try:
            with plugin_failures():  # here, where the traceback is
                return index, self.read(index)
        except ToolkitError as error:
            return index, error


class SegmentSet(Items):
    """The segments of some utterances, read from their files when asked for."""

    def __init__(
        self,
        utterances: Sequence[Utterance],
        targets: Mapping[str, Sequence[int]],  # name -> class index of each utterance, or UNKNOWN
        covariates: Mapping[str, Sequence[int]],  # likewise
        *,
        sample_rate: int,
        segment_samples: int,  # of the longest segment
        tail: str = "weighted",  # a segment weighs its real length, or "equal": all weigh the same
        fixed_samples: int | None = None,  # each is padded to it, which counts as real, or cut; None: real lengths
    ):
        self.utterances = list(utterances)
        self.targets = {name: torch.as_tensor(values) for name, values in targets.items()}
        self.covariates = {name: torch.as_tensor(values) for name, values in covariates.items()}
        self.sample_rate, self.segment_samples = sample_rate, segment_samples
        self.tail, self.fixed_samples = tail, fixed_samples
        self.segments: list[Segment] = []
        self.by_utterance: list[range] = []  # the indices of each utterance's segments
        for index, one in enumerate(self.utterances):
            samples = stretch(one.path, start_s=one.start, end_s=one.end).samples(sample_rate)
            first = len(self.segments)
            starts = range(0, samples, segment_samples)
            self.segments += [Segment(index, start, min(start + segment_samples, samples)) for start in starts]
            self.by_utterance.append(range(first, len(self.segments)))

    def __len__(self) -> int:
        return len(self.segments)

    def collate(self, items: Sequence[tuple[int, Any]]) -> Batch | ToolkitError:
        """Put items, each with samples or what levels get, into a padded Batch; instead of it, the first error."""
        indices, values = zip(*items, strict=True)
        if error := next((value for value in values if isinstance(value, ToolkitError)), None):
            return error
        as_waves = partial(padded_waves, fixed_samples=self.fixed_samples)
        if isinstance(values[0], Mapping):
            rows = {key: [one[key] for one in values] for key in values[0]}
            inputs = {key: padded(some) if isinstance(key, str) else as_waves(some) for key, some in rows.items()}
        else:
            inputs = as_waves(values)
        segments = [self.segments[index] for index in indices]
        utterances = torch.tensor([segment.utterance for segment in segments])
        real = torch.tensor([segment.samples for segment in segments], dtype=torch.float32)
        return Batch(
            inputs=inputs,
            targets={name: classes[utterances] for name, classes in self.targets.items()},
            covariates={name: classes[utterances] for name, classes in self.covariates.items()},
            utterances=utterances,
            weights=real if self.tail == "weighted" else torch.ones_like(real),
            draws=indices,
        )

    def widths(self) -> list[int]:
        """How many samples of each segment a front end takes as real, padding to a minimal or fixed length included."""
        if self.fixed_samples is not None:
            return [self.fixed_samples] * len(self)
        return [max(segment.samples, MIN_SAMPLES) for segment in self.segments]

    def waves(self, utterance: int) -> Seq:
        """An utterance's segments, read at once, padded as in a Batch: [segments, samples]. Raises: AudioError."""
        one = self.utterances[utterance]
        wave = read_audio(one.path, sample_rate=self.sample_rate, start_s=one.start, end_s=one.end)
        return padded_waves(wave.split(self.segment_samples), fixed_samples=self.fixed_samples)

    def read(self, index: int) -> Tensor:
        """The samples of a segment: [samples]; only what they need of its file is decoded. Raises: AudioError."""
        segment = self.segments[index]
        one, part = self.utterances[segment.utterance], (segment.start, segment.stop)
        return read_audio(one.path, sample_rate=self.sample_rate, start_s=one.start, end_s=one.end, part=part)

    def segment_targets(self, target: str) -> Tensor:
        """The class index of every segment: [segments]."""
        return self.targets[target][torch.tensor([segment.utterance for segment in self.segments])]
