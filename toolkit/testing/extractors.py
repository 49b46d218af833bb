"""The contract of extractors, property by property."""

import contextlib
import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from toolkit.contracts import Extractor, Seq
from toolkit.testing import Violation, contract, plugin_class, require
from toolkit.testing.front_ends import FrontEndCase, args_as_json
from toolkit.testing.modules import require_finite, require_unwritten
from toolkit.testing.tensors import GARBAGE, copy_state, random_sum, require_equal, require_floats, row


class ExtractorCase(FrontEndCase):
    """An extractor to examine; arguments as for `FrontEndCase`."""

    @contract
    def shapes_are_as_declared(self) -> None:
        """At several lengths, alone and in a batch: `frame_count` frames, `channels` channels, integer lengths."""
        extractor = self.build()
        wave = self.wave(extractor)
        expected = [extractor.frame_count(n) for n in self.lengths(extractor)]
        require(all(type(n) is int and n > 0 for n in expected), f"frame_count gives {expected}, not positive ints")
        for index, samples in enumerate(self.lengths(extractor)):
            _require_shape(extractor, row(wave, index), expected[index : index + 1], f"{samples} samples alone")
        _require_shape(extractor, wave, expected, f"a batch of {self.lengths(extractor)} samples")

    @contract
    def forward_is_encode_of_features(self) -> None:
        """`extractor(wave)` is `encode(features(wave))`."""
        extractor = self.build()
        wave = self.wave(extractor)
        whole, steps = extractor(wave), extractor.encode(extractor.features(wave))
        require_equal(whole.zeroed().values, steps.zeroed().values, 0, "forward against encode(features)")

    @contract
    def garbage_changes_nothing(self) -> None:
        """What lies beyond the lengths changes nothing: NaN, infinity, 1e4; in the waveform and in the features."""
        extractor = self.build()
        wave = self.wave(extractor)
        if extractor.fixed_samples is not None:  # the core pads shorter rows, but lengths must count here too
            wave = Seq(wave.values, wave.lengths - torch.arange(len(wave.lengths)) * (wave.values.shape[1] // 4))
        clean = extractor.features(wave.zeroed())
        output = extractor.encode(clean).zeroed().values
        for garbage in GARBAGE:
            what = f"{garbage} beyond lengths {wave.lengths.tolist()} of the waveform changes features"
            _require_rows(extractor.features(wave.filled(garbage)), clean, self.tolerance, what)
            what = f"{garbage} beyond lengths {clean.lengths.tolist()} of the features changes encode's output"
            found = extractor.encode(clean.filled(garbage))
            require_equal(found.zeroed().values, output, self.tolerance, what)

    @contract
    def batch_equals_alone(self) -> None:
        """A row has the same result in a batch as alone, without padding."""
        extractor = self.build()
        wave = self.wave(extractor)
        features, output = extractor.features(wave), extractor(wave)
        for index, samples in enumerate(self.lengths(extractor)):
            alone = row(wave, index)
            what = f"row {index} ({samples} samples) of a batch of {self.lengths(extractor)} against alone"
            pairs = (("features", features, extractor.features(alone)), ("output", output, extractor(alone)))
            for name, batched, single in pairs:
                _require_rows(row(batched, index, cut=False), single, self.tolerance, f"{name} of {what}", batched)

    @contract
    def features_can_be_padded_again(self) -> None:
        """Cached features, whose rows were cut to their lengths, encode as before in another batch."""
        extractor = self.build()
        features = extractor.features(self.wave(extractor))
        rows = [row(features, i) for i in range(len(features.lengths))]
        padded = pad_sequence([r.values[0] for r in rows[::-1]], batch_first=True, padding_value=float("nan"))
        padded = pad(padded, (0, 0, 0, 0 if extractor.fixed_samples else 3), value=float("nan"))
        again = Seq(padded, features.lengths.flip(0))
        expected, found = extractor.encode(features), extractor.encode(again)
        for index in range(len(rows)):
            single, other = row(expected, index), row(found, len(rows) - 1 - index)
            _require_rows(other, single, self.tolerance, f"row {index} of cached features padded again", expected)

    @contract
    def features_are_deterministic(self) -> None:
        """Features are bit-identical at every call, also in train() mode and after forward passes in it."""
        extractor = self.build()
        wave = self.wave(extractor)
        expected = extractor.features(wave).zeroed().values
        for step in (extractor.eval, extractor.train, extractor.train):
            step()
            found = extractor.features(wave).zeroed().values
            require(torch.equal(found, expected), f"features in {step.__name__}() mode differ from those before")
            extractor(wave)

    @contract
    def features_learn_nothing(self) -> None:
        """Features carry no gradient and do not change with the trained parameters."""
        extractor = self.build().train()
        wave = self.wave(extractor)
        before = extractor.features(wave)
        require(not before.values.requires_grad, "features require a gradient: what is trained belongs in encode")
        with torch.no_grad():
            for parameter in extractor.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter))
        same = torch.equal(extractor.features(wave).zeroed().values, before.zeroed().values)
        remedy = "freeze those (requires_grad_(False)) or use them in encode"
        require(same, f"features change when trained parameters do: {remedy}")

    def trained_pass(self, module: Extractor) -> tuple[Tensor, dict[str, Tensor]]:
        """A scalar from waveforms and features with NaN beyond the lengths."""
        features = module.features(self.wave(module).filled(float("nan")))
        output = module.encode(features.filled(float("nan")))
        return random_sum({"output": output.zeroed().values}), {}

    @contract
    def silence_is_finite(self) -> None:
        """Digital silence gives finite frames and finite gradients."""
        extractor = self.build().train()
        wave = self.wave(extractor)
        silence = Seq(torch.zeros_like(wave.values), wave.lengths)
        require_finite(extractor, {"output": extractor(silence).zeroed().values}, "of digital silence")

    @contract
    def input_is_left_alone(self) -> None:
        """Neither `features` nor `encode` writes into its input."""
        extractor = self.build().train()
        wave = self.wave(extractor)
        require_unwritten(extractor.features, wave, what="features")
        require_unwritten(extractor.encode, extractor.features(wave), what="encode")

    def require_alike(self, found: Extractor, expected: Extractor, what: str) -> None:
        """The same features and output, and the same `front_end_args`."""
        super().require_alike(found, expected, what)
        same = args_as_json(found) == args_as_json(expected)
        require(same, f"front_end_args {what} are {found.front_end_args}, not {expected.front_end_args}")

    @contract
    def portable_args_build_it_again(self) -> None:
        """Built with `portable_args` in place of the recipe's, without network, it is the same once state is loaded."""
        extractor = self.build()
        portable = extractor.portable_args()
        try:
            portable = json.loads(json.dumps(dict(portable), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise Violation(f"portable_args {portable!r} cannot be written as JSON: {error}") from error
        lost = [name for name, value in extractor.standalone_args.items() if portable.get(name, ...) != value]
        require(not lost, f"portable_args lack the standalone_args {lost}")
        given = [name for name in portable if name in self.context()]
        require(not given, f"portable_args hold {given}, which the system gives")
        if plugin_class(self.make) is None:  # a function need not accept further arguments
            return
        with _watched_network() as attempts:
            other = replace(self, make=partial(self.make, **portable)).empty()
        require(not attempts, f"built with portable_args {portable}, it asks the network for {attempts[:1]}")
        copy_state(extractor, other)
        other.pretrained, other.random_backbone = extractor.pretrained, extractor.random_backbone  # as a bundle does
        self.require_alike(other, extractor, f"when built with portable_args {portable}")


def _require_shape(extractor: Extractor, wave: Seq, frames: list[int], what: str) -> None:
    features = extractor.features(wave)
    require_floats("features", features)
    output = extractor.encode(features)
    require_floats("encode", output)
    for name, seq in (("features", features), ("output", output)):
        shape = list(seq.values.shape)
        fits = len(shape) == 3 and shape[0] == len(frames)
        require(fits, f"{what}: the shape of {name} is {shape}, not [{len(frames)}, time, channels]")
        require(seq.lengths.dtype == torch.int64, f"{what}: lengths of {name} are {seq.lengths.dtype}, not int64")
        low, high, marked = int(seq.lengths.min()), int(seq.lengths.max()), "; it is marked as full" if seq.full else ""
        fits = low >= 1 and high <= shape[1] and (low == shape[1] or not seq.full)
        require(fits, f"{what}: lengths of {name}, {low} to {high}, do not fit time {shape[1]}{marked}")
    require(output.lengths.tolist() == frames, f"{what}: lengths {output.lengths.tolist()}, frame_count {frames}")
    shape, declared = list(output.values.shape), [len(frames), max(frames), extractor.channels]
    require(shape == declared, f"{what}: the shape of output is {shape}, declared {declared}")
    require(output.zeroed().values.isfinite().all(), f"{what}: output is not finite")


def _require_rows(found: Seq, expected: Seq, tolerance: float, what: str, batch: Seq | None = None) -> None:
    """Equal lengths, and equal values up to them; time axes may differ. `batch` gives small rows a larger scale."""
    same = torch.equal(found.lengths, expected.lengths)
    require(same, f"{what}: lengths {found.lengths.tolist()} against {expected.lengths.tolist()}")
    time = int(expected.lengths.max())
    scale = 0.01 * float(batch.zeroed().values.detach().abs().max()) if batch is not None else 0.0
    one, two = found.zeroed().values[:, :time], expected.zeroed().values[:, :time]
    require_equal(one, two, tolerance, what, scale=scale)


@contextlib.contextmanager
def _watched_network() -> Iterator[list[str]]:
    """Refuse name look-ups and connections inside; yields those that were tried."""
    attempts: list[str] = []

    def refuse(*args: Any, **options: Any):
        attempts.append(str(next((arg for arg in args if not isinstance(arg, socket.socket)), "an address")))
        raise OSError("no network while portable_args are tried")

    with mock.patch("socket.getaddrinfo", refuse), mock.patch("socket.socket.connect", refuse):
        yield attempts
