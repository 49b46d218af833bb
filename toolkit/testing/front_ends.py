"""Inputs to examine extractors with, and the contract of `front_end_args`, by which the cache tells features apart."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import UnionType
from typing import Any, ClassVar, Literal, Union, get_args, get_origin

import torch
from torch import Tensor

from toolkit.contracts import Extractor, Seq
from toolkit.plugins.signatures import read_arguments
from toolkit.testing import Violation, contract, plugin_class, require
from toolkit.testing.modules import ModuleCase


@dataclass(frozen=True)
class FrontEndCase(ModuleCase):
    """An extractor to examine; it is built about twenty times, with varied arguments: small ones keep that fast."""

    sample_rate: int = 16_000
    segment_samples: int = 16_000
    samples: Sequence[int] | None = None  # lengths to try; by default a whole segment, parts of it and a single sample
    kind: ClassVar[str] = "extractor"

    def training_part(self, module: Extractor) -> list[Seq]:
        """Features of two batches."""
        return [module.features(self.wave(module, shift)) for shift in range(2)]

    def inputs(self, module: Extractor) -> tuple[Seq]:
        """A waveform."""
        return (self.wave(module),)

    def outputs(self, module: Extractor, wave: Seq) -> dict[str, Tensor]:
        """Features and frames."""
        return {"features": module.features(wave).zeroed().values, "output": module(wave).zeroed().values}

    def lengths(self, extractor: Extractor) -> list[int]:
        """The lengths to try, in samples; only `fixed_samples` if the extractor has it."""
        if extractor.fixed_samples is not None:
            return [extractor.fixed_samples] * 3
        whole = self.segment_samples
        return sorted(self.samples or (whole, whole * 5 // 8 + 7, whole // 4, 399, 1), reverse=True)

    def wave(self, extractor: Extractor, shift: int = 0) -> Seq:
        """Tones in noise, one row for each of `lengths`, zeros beyond them."""
        lengths = self.lengths(extractor)
        generator = torch.Generator().manual_seed(1 + shift)
        time = torch.arange(max(lengths)) / self.sample_rate  # in seconds
        pitch = 100 + 150 * torch.rand(len(lengths), 1, generator=generator)  # in Hz
        tone = torch.sin(2 * torch.pi * pitch * time)
        noise = torch.randn(len(lengths), max(lengths), generator=generator)
        return Seq(0.2 * tone + 0.05 * noise, torch.tensor(lengths)).zeroed()

    @contract
    def front_end_args_identify_features(self) -> None:
        """`front_end_args` can be written as JSON and do not change with use; where they are equal, features are."""
        one, other = self.build(), self.build()
        wave, before = self.wave(one), args_as_json(one)
        one.train()(wave)
        require(args_as_json(one) == before, "front_end_args change with use")
        require(
            args_as_json(other) != before or _same(other.features(wave), one.features(wave)),
            "two extractors with the same front_end_args have different features: a cache would mix them up "
            "(random weights in features? put a hash of them into front_end_args)",
        )

    @contract
    def front_end_args_tell_arguments_apart(self) -> None:
        """An argument that changes features changes `front_end_args` too; other values of each are tried in turn."""
        if (cls := plugin_class(self.make)) is None:  # the arguments of a function say nothing about the plugin's
            return
        given = {**getattr(self.make, "keywords", {}), "segment_samples": self.segment_samples}
        one = self._seeded()
        wave = self.wave(one)
        features = one.features(wave)
        for argument in read_arguments(cls):
            name, value = argument.name, given.get(argument.name, argument.default)
            for varied in [] if name == "sample_rate" else other_values(value, argument.annotation):
                own = name == "segment_samples"
                changed = {name: varied} if own else {"make": partial(self.make, **{name: varied})}
                try:
                    other = replace(self, **changed)._seeded()
                    cached_apart = other.fixed_samples != one.fixed_samples or args_as_json(other) != args_as_json(one)
                    found = features if cached_apart else other.features(wave)
                except Exception:  # a value that this argument cannot have, alone or beside the others
                    continue
                require(
                    _same(found, features),
                    f"features differ with {name}={value!r} and {name}={varied!r}, and front_end_args are the same: a "
                    f"cache would mix them up (put {name}, or its result, into front_end_args)",
                )

    def _seeded(self) -> Extractor:
        """An extractor with the same random weights as any other of the same shape."""
        torch.manual_seed(0)
        return self.empty()


def other_values(value: Any, annotation: Any) -> list[Any]:
    """Other values to try for an argument that has a value; none for free text, lists and mappings.

    >>> other_values(160, int), other_values(0.5, float), other_values(True, bool)
    ([161, 320], [0.25, 1.0], [False])
    >>> other_values(None, bool | None), other_values("a", Literal["a", "b", "c"])
    ([True, False], ['b', 'c'])
    """
    choices: list[Any] = []
    for kind in get_args(annotation) if get_origin(annotation) in (Union, UnionType) else [annotation]:
        if get_origin(kind) is Literal:
            choices += get_args(kind)
        elif kind is bool:
            choices += [True, False]
        elif kind is int and type(value) is int:
            choices += [value + 1, 2 * value]
        elif kind is float and type(value) in (int, float):
            choices += [value / 2, 2.0 * value] if value else [0.5, 1.0]
    return [choice for choice in choices if choice != value]


def args_as_json(extractor: Extractor) -> str:
    """An extractor's `front_end_args` as text to compare; Violation if JSON cannot hold them."""
    try:
        return json.dumps(dict(extractor.front_end_args), sort_keys=True)
    except (TypeError, ValueError) as error:
        raise Violation(f"front_end_args {extractor.front_end_args!r} cannot be written as JSON: {error}") from error


def _same(found: Seq, expected: Seq) -> bool:
    return torch.equal(found.lengths, expected.lengths) and torch.equal(found.zeroed().values, expected.zeroed().values)
