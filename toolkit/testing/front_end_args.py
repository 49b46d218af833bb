"""The contract of `front_end_args`: the feature cache distinguishes features by them, so they must be complete."""

import json
from dataclasses import replace
from functools import partial
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import torch

from toolkit.contracts import Extractor
from toolkit.plugins.signatures import read_arguments
from toolkit.testing.case import Violation, plugin_class, require
from toolkit.testing.extractor_case import ExtractorCase


def front_end_args_identify_features(case: ExtractorCase) -> None:
    """`front_end_args` can be written as JSON, do not change by use, and where they agree so do features."""
    one, other = case.build(), case.build()
    wave = case.wave(one)
    before = args_as_json(one)
    one.train()(wave)
    require(args_as_json(one) == before, "front_end_args change by use")
    if args_as_json(other) == before:
        found, expected = other.features(wave).zeroed().values, one.features(wave).zeroed().values
        require(
            torch.equal(found, expected),
            "two extractors with the same front_end_args have different features: a cache would mix them up "
            "(random weights in features? put a hash of them into front_end_args)",
        )


def front_end_args_tell_arguments_apart(case: ExtractorCase) -> None:
    """An argument that changes features changes `front_end_args` too; each is tried with other values by itself."""
    cls = plugin_class(case.make)
    if cls is None:  # which arguments a function takes is not known
        return
    given = {**getattr(case.make, "keywords", {}), "segment_samples": case.segment_samples}
    one = _build(case)
    wave = case.wave(one)
    features = one.features(wave).zeroed()
    for argument in read_arguments(cls):
        name, value = argument.name, given.get(argument.name, argument.default)
        for varied in [] if name == "sample_rate" else other_values(value, argument.annotation):
            try:
                other = _build(_with(case, name, varied))
                found = other.features(wave).zeroed() if _key(other) == _key(one) else features
            except Exception:  # a value that this argument, or this argument beside the others, cannot have
                continue
            require(
                torch.equal(found.lengths, features.lengths) and torch.equal(found.values, features.values),
                f"features differ with {name}={value!r} and {name}={varied!r}, and front_end_args are the same: a "
                f"cache would mix them up (put what becomes of {name} into front_end_args)",
            )


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
    """An extractor's front_end_args as they are compared.

    Raises:
        Violation: if they cannot be written.
    """
    args = extractor.front_end_args
    try:
        return json.dumps(dict(args), sort_keys=True)
    except (TypeError, ValueError) as error:
        raise Violation(f"front_end_args {args!r} cannot be written as JSON: {error}") from error


def _build(case: ExtractorCase) -> Extractor:
    """With the same random weights as any other of the same shape."""
    torch.manual_seed(0)
    return case.empty()


def _with(case: ExtractorCase, name: str, value: Any) -> ExtractorCase:
    if name == "segment_samples":
        return replace(case, segment_samples=value)
    return replace(case, make=partial(case.make, **{name: value}))


def _key(extractor: Extractor) -> tuple[int | None, str]:
    """What distinguishes front ends of one class and sample rate in the cache."""
    return extractor.fixed_samples, args_as_json(extractor)
