"""The contract of extractors, property by property."""

import json
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal, get_args, get_origin
from unittest import mock

import torch
from torch import Tensor

from toolkit.contracts import Extractor, Seq
from toolkit.model.boundary import checked
from toolkit.plugins.signatures import read_arguments
from toolkit.recipe.checks import members
from toolkit.testing import Case, Violation, contract, require, unwrapped
from toolkit.testing.modules import GARBAGE, ModuleCase, backward, copy_state, require_equal, require_unwritten, row


@dataclass(frozen=True)
class ExtractorCase(ModuleCase):
    """An extractor to examine; it is built about twenty times, with varied arguments: small ones keep that fast."""

    sample_rate: int = 16_000
    segment_samples: int = 16_000
    kind: ClassVar[str] = "extractor"
    basic = (*Case.basic, "shapes_are_as_declared", *ModuleCase.basic)

    def training_part(self, module: Extractor) -> list[Seq]:
        """Features of two batches, with NaN beyond the lengths."""
        return [module.features(*self.inputs(module)).filled(float("nan")) for _ in range(2)]

    def inputs(self, module: Extractor) -> tuple[Seq]:
        """Tones in noise, a row for each length from a whole segment to one sample, or only for `fixed_samples`."""
        whole, fixed = self.segment_samples, module.fixed_samples
        lengths = [fixed] * 3 if fixed else sorted((whole, whole * 5 // 8 + 7, whole // 4, 399, 1), reverse=True)
        time = torch.arange(max(lengths)) / self.sample_rate  # in seconds
        pitch = 100 + 150 * torch.rand(len(lengths), 1)  # in Hz
        tone = torch.sin(2 * torch.pi * pitch * time)
        return (Seq(0.2 * tone + 0.05 * torch.randn(tone.shape), torch.tensor(lengths)).zeroed(),)

    def outputs(self, module: Extractor, wave: Seq) -> dict[str, Seq]:
        """Features and frames."""
        return {"features": module.features(wave), "output": module(wave)}

    @contract
    def front_end_args_identify_features(self) -> None:
        """`front_end_args` do not change with use; where they are equal, features are."""
        one, other = self.build(), self.build()
        (wave,), before = self.inputs(one), front_end(one)
        one.train()(wave)
        require(front_end(one) == before, "front_end_args change with use")
        if front_end(other) == before:
            found = "two extractors with the same front_end_args have different features: a cache would mix them up"
            remedy = "(random weights in features? put a hash of them into front_end_args)"
            require_equal(other.features(wave), one.features(wave), 0, f"{found} {remedy}")

    @contract
    def front_end_args_tell_arguments_apart(self) -> None:
        """An argument that changes features changes `front_end_args` too; other values of each are tried in turn."""
        cls = unwrapped(self.make)
        if not isinstance(cls, type):
            return
        given = {**getattr(self.make, "keywords", {}), "segment_samples": self.segment_samples}
        torch.manual_seed(0)
        one = self.unfitted()
        (wave,) = self.inputs(one)
        features = one.features(wave)
        for argument in read_arguments(cls):
            name, value = argument.name, given.get(argument.name, argument.default)
            for varied in [] if name == "sample_rate" else other_values(value, argument.annotation):
                own = name == "segment_samples"
                changed = {name: varied} if own else {"make": partial(self.make, **{name: varied})}
                try:
                    torch.manual_seed(0)  # random weights of the same shape are the same
                    other = replace(self, **changed).unfitted()
                    cached_apart = other.fixed_samples != one.fixed_samples or front_end(other) != front_end(one)
                    found = features if cached_apart else other.features(wave)
                except Exception:  # a value that this argument cannot have, alone or beside the others
                    continue
                differ = f"features differ with {name}={value!r} and {name}={varied!r}, and front_end_args are the same"
                remedy = f"a cache would mix them up (put {name}, or its result, into front_end_args)"
                require_equal(found, features, 0, f"{differ}: {remedy}")

    @contract
    def shapes_are_as_declared(self) -> None:
        """At several lengths, alone and in a batch: `frame_count` frames, `channels` channels, finite values."""
        extractor = self.build()
        (wave,) = self.inputs(extractor)
        lengths = wave.lengths.tolist()
        expected = [extractor.frame_count(n) for n in lengths]
        require(all(type(n) is int and n > 0 for n in expected), f"frame_count gives {expected}, not positive ints")
        for index, samples in enumerate(lengths):
            _require_shape(extractor, row(wave, index), expected[index : index + 1], f"{samples} samples alone")
        _require_shape(extractor, wave, expected, f"a batch of {lengths} samples")

    @contract
    def garbage_changes_nothing(self) -> None:
        """What lies beyond the lengths changes nothing: NaN, infinity, 1e4; in the waveform and in the features."""
        extractor = self.build()
        (wave,) = self.inputs(extractor)
        if extractor.fixed_samples is not None:  # the core pads shorter rows, but lengths must count here too
            wave = Seq(wave.values, wave.lengths - torch.arange(len(wave.lengths)) * (wave.values.shape[1] // 4))
        clean = extractor.features(wave.zeroed())
        output = extractor.encode(clean)
        for garbage in GARBAGE:
            what = f"{garbage} beyond lengths {wave.lengths.tolist()} of the waveform changes features"
            require_equal(extractor.features(wave.filled(garbage)), clean, self.tolerance, what)
            what = f"{garbage} beyond lengths {clean.lengths.tolist()} of the features changes encode's output"
            require_equal(extractor.encode(clean.filled(garbage)), output, self.tolerance, what)

    @contract
    def features_learn_nothing(self) -> None:
        """Features carry no gradient, and stay the same in train() mode and when parameters change."""
        extractor = self.build()
        (wave,) = self.inputs(extractor)
        expected = extractor.features(wave).zeroed().values
        extractor.train()(wave)
        for change in ("in train() mode", "when trained parameters do: freeze these, or use them in encode"):
            found = extractor.features(wave)
            require(not found.values.requires_grad, "features require a gradient: what is trained belongs in encode")
            require(torch.equal(found.zeroed().values, expected), f"features change {change}")
            for parameter in extractor.parameters():
                if parameter.requires_grad:
                    parameter.data += torch.randn_like(parameter)

    def trained_pass(self, module: Extractor) -> tuple[dict[str, Seq], dict[str, Tensor]]:
        """The outputs for waveforms and features with NaN beyond the lengths."""
        (wave,) = self.inputs(module)
        features = module.features(wave.filled(float("nan")))
        return {"output": module.encode(features.filled(float("nan")))}, {}

    @contract
    def silence_is_finite(self) -> None:
        """Digital silence gives finite frames and finite gradients."""
        extractor = self.build().train()
        (wave,) = self.inputs(extractor)
        silence = Seq(torch.zeros_like(wave.values), wave.lengths)
        backward(extractor, {"output": extractor(silence)}, {}, "of digital silence")

    @contract
    def input_is_left_alone(self) -> None:
        """Neither `features` nor `encode` writes into its input."""
        extractor = self.build().train()
        (wave,) = self.inputs(extractor)
        require_unwritten(extractor.features, wave, what="features")
        require_unwritten(extractor.encode, extractor.features(wave), what="encode")

    def require_alike(self, found: Extractor, expected: Extractor, what: str) -> None:
        """The same features and output, and the same `front_end_args`."""
        super().require_alike(found, expected, what)
        one, other = front_end(found), front_end(expected)
        require(one == other, f"front_end_args {what} are {one}, not {other}")

    @contract
    def portable_args_build_it_again(self) -> None:
        """Built with `portable_args` in place of the recipe's, without network, it is the same once state is loaded."""
        extractor = self.build()
        portable = json.loads(json.dumps(dict(extractor.portable_args())))
        lost = [name for name, value in extractor.standalone_args.items() if portable.get(name, ...) != value]
        require(not lost, f"portable_args lack the standalone_args {lost}")
        if not isinstance(unwrapped(self.make), type):  # a function need not accept further arguments
            return
        with mock.patch("socket.getaddrinfo") as found, mock.patch("socket.socket.connect") as connected:
            found.side_effect = connected.side_effect = OSError("no network while portable_args are tried")
            other = replace(self, make=partial(self.make, **portable)).unfitted()
        require(not (found.called or connected.called), f"built with portable_args {portable}, it asks the network")
        copy_state(extractor, other)
        other.pretrained, other.random_backbone = extractor.pretrained, extractor.random_backbone  # as a bundle does
        self.require_alike(other, extractor, f"when built with portable_args {portable}")


def _require_shape(extractor: Extractor, wave: Seq, frames: list[int], what: str) -> None:
    features = checked(extractor, "features", extractor.features(wave), (len(frames), None, None))
    output = checked(extractor, "encode", extractor.encode(features), (len(frames), None, extractor.channels))
    for name, seq in (("features", features), ("output", output)):
        low, high, time = int(seq.lengths.min()), int(seq.lengths.max()), seq.values.shape[1]
        fits = (time if seq.full else 1) <= low and high <= time
        require(fits, f"{what}: lengths of {name}, {low} to {high}, do not fit time {time} (full: {seq.full})")
        require(seq.zeroed().values.isfinite().all(), f"{what}: values of {name} are not finite")
    lengths, steps = output.lengths.tolist(), output.values.shape[1]
    require(lengths == frames, f"{what}: lengths {lengths}, frame_count {frames}")
    require(steps == max(frames), f"{what}: output has {steps} time steps, not {max(frames)}")


def other_values(value: Any, annotation: Any) -> list[Any]:
    """Other values to try for an argument that has a value; none for free text, lists and mappings.

    >>> other_values(160, int), other_values(0.5, float), other_values(None, bool | Literal["a"])
    ([161, 320], [0.25, 1.0], [True, False, 'a'])
    """
    choices: list[Any] = []
    for kind in members(annotation):
        if get_origin(kind) is Literal:
            choices += get_args(kind)
        elif kind is bool:
            choices += [True, False]
        elif kind is int and type(value) is int:
            choices += [value + 1, 2 * value]
        elif kind is float and type(value) in (int, float):
            choices += [value / 2, 2.0 * value] if value else [0.5, 1.0]
    return [choice for choice in choices if choice != value]


def front_end(extractor: Extractor) -> str:
    """An extractor's `front_end_args` as text to compare; Violation if JSON cannot hold them."""
    try:
        return json.dumps(dict(extractor.front_end_args), sort_keys=True)
    except TypeError as error:
        raise Violation(f"front_end_args {extractor.front_end_args!r} cannot be written as JSON: {error}") from error
