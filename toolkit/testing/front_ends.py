"""An extractor under examination, and what is asked of its `front_end_args`.

The feature cache distinguishes features by them, so they must be complete.
"""

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
    """An extractor to examine; about twenty are built, one or two for each argument: small arguments keep it fast."""

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
        """The lengths to try; `fixed_samples` only, if the extractor has them."""
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
        """`front_end_args` can be written as JSON, do not change by use, and where they agree so do features."""
        one, other = self.build(), self.build()
        wave, before = self.wave(one), args_as_json(one)
        one.train()(wave)
        require(args_as_json(one) == before, "front_end_args change by use")
        require(
            args_as_json(other) != before or _same(other.features(wave), one.features(wave)),
            "two extractors with the same front_end_args have different features: a cache would mix them up "
            "(random weights in features? put a hash of them into front_end_args)",
        )

    @contract
    def front_end_args_tell_arguments_apart(self) -> None:
        """An argument that changes features changes `front_end_args` too; each is tried with other values by itself."""
        if (cls := plugin_class(self.make)) is None:  # which arguments a function takes is not known
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
                except Exception:  # a value that this argument, or this argument beside the others, cannot have
                    continue
                require(
                    _same(found, features),
                    f"features differ with {name}={value!r} and {name}={varied!r}, and front_end_args are the same: a "
                    f"cache would mix them up (put what becomes of {name} into front_end_args)",
                )

    def _seeded(self) -> Extractor:
        """With the same random weights as any other of the same shape."""
        torch.manual_seed(0)
        return self.empty()


def other_values(value: Any, annotation: Any) -> list[Any]:
    """Other values that an argument of one value can be tried with; none for texts of any kind, lists and mappings.

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
    """An extractor's front_end_args as they are compared; Violation if they cannot be written."""
    try:
        return json.dumps(dict(extractor.front_end_args), sort_keys=True)
    except (TypeError, ValueError) as error:
        raise Violation(f"front_end_args {extractor.front_end_args!r} cannot be written as JSON: {error}") from error


def _same(found: Seq, expected: Seq) -> bool:
    return torch.equal(found.lengths, expected.lengths) and torch.equal(found.zeroed().values, expected.zeroed().values)
