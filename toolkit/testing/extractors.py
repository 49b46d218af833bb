"""The contract of extractors, property by property."""

from typing import Any

import torch
from torch import Tensor

from toolkit.contracts import Extractor, Seq
from toolkit.testing.case import Suite, require
from toolkit.testing.extractor_case import ExtractorCase
from toolkit.testing.extractor_state import portable_args_build_it_again, state_survives_safetensors
from toolkit.testing.front_end_args import front_end_args_identify_features, front_end_args_tell_arguments_apart
from toolkit.testing.modules import (
    arguments_are_documented,
    frozen_is_deterministic_in_training,
    require_finite,
    require_gradients,
    require_unwritten,
    runs_in_bfloat16,
)
from toolkit.testing.tensors import GARBAGE, pad_together, random_sum, require_equal, row, with_garbage


def attributes_are_as_declared(case: ExtractorCase) -> None:
    """`channels`, `fixed_samples`, `fits`, `pretrained` and `random_backbone` have the types of the contract."""
    extractor = case.empty()
    require(isinstance(extractor, Extractor), f"{type(extractor).__name__} is not a toolkit.contracts.Extractor")
    require(_counts(extractor.channels), f"channels is {extractor.channels!r}, not a positive int")
    fixed = extractor.fixed_samples
    require(fixed is None or _counts(fixed), f"fixed_samples is {fixed!r}, not a positive int or None")
    require(isinstance(extractor.fits, bool), f"fits is {extractor.fits!r}, not a bool")
    pretrained = extractor.pretrained
    require(pretrained is None or isinstance(pretrained, str), f"pretrained is {pretrained!r}, not str or None")
    require(isinstance(extractor.random_backbone, bool), f"random_backbone is {extractor.random_backbone!r}")


def shapes_are_as_declared(case: ExtractorCase) -> None:
    """At several lengths, alone and in a batch: `frame_count` frames, `channels` channels, integer lengths."""
    extractor = case.build()
    wave = case.wave(extractor)
    expected = [extractor.frame_count(n) for n in case.lengths(extractor)]
    require(all(_counts(n) for n in expected), f"frame_count gives {expected}; it must be a positive int")
    for index, samples in enumerate(case.lengths(extractor)):
        _require_shape(extractor, row(wave, index), expected[index : index + 1], f"{samples} samples alone")
    _require_shape(extractor, wave, expected, f"a batch of {case.lengths(extractor)} samples")


def forward_is_encode_of_features(case: ExtractorCase) -> None:
    """`extractor(wave)` is `encode(features(wave))`."""
    extractor = case.build()
    wave = case.wave(extractor)
    whole, steps = extractor(wave), extractor.encode(extractor.features(wave))
    require_equal(whole.zeroed().values, steps.zeroed().values, 0, "forward against encode(features)")


def garbage_changes_nothing(case: ExtractorCase) -> None:
    """What lies beyond the lengths changes nothing: NaN, infinity, 1e4; in the waveform and in the features."""
    extractor = case.build()
    wave = case.wave(extractor)
    if extractor.fixed_samples is not None:  # shorter rows are padded by the core, but Seq means what it says
        wave = Seq(wave.values, wave.lengths - torch.arange(len(wave.lengths)) * (wave.values.shape[1] // 4))
    clean = extractor.features(wave.zeroed())
    output = extractor.encode(clean).zeroed().values
    for garbage in GARBAGE:
        what = f"{garbage} beyond lengths {wave.lengths.tolist()} of the waveform changes features"
        _require_rows(extractor.features(with_garbage(wave, garbage)), clean, case.tolerance, what)
        what = f"{garbage} beyond lengths {clean.lengths.tolist()} of the features changes encode's output"
        found = extractor.encode(with_garbage(clean, garbage))
        require_equal(found.zeroed().values, output, case.tolerance, what)


def batch_equals_alone(case: ExtractorCase) -> None:
    """A row of a batch comes out as it does alone, without padding."""
    extractor = case.build()
    wave = case.wave(extractor)
    features, output = extractor.features(wave), extractor(wave)
    for index, samples in enumerate(case.lengths(extractor)):
        alone = row(wave, index)
        what = f"row {index} ({samples} samples) of a batch of {case.lengths(extractor)} against alone"
        for name, batched, single in (
            ("features", features, extractor.features(alone)),
            ("output", output, extractor(alone)),
        ):
            _require_rows(row(batched, index, cut=False), single, case.tolerance, f"{name} of {what}", batched)


def features_can_be_padded_anew(case: ExtractorCase) -> None:
    """Features that were cached, each row cut to its length, encode as before in another batch."""
    extractor = case.build()
    features = extractor.features(case.wave(extractor))
    rows = [row(features, i) for i in range(len(features.lengths))]
    anew = pad_together(rows[::-1], extra=0 if extractor.fixed_samples else 3, garbage=float("nan"))
    expected, found = extractor.encode(features), extractor.encode(anew)
    for index in range(len(rows)):
        single, other = row(expected, index), row(found, len(rows) - 1 - index)
        _require_rows(other, single, case.tolerance, f"row {index} of cached features padded anew", expected)


def features_are_deterministic(case: ExtractorCase) -> None:
    """Features are the same to the bit, twice, in train() mode too, also after training forwards."""
    extractor = case.build()
    wave = case.wave(extractor)
    expected = extractor.features(wave).zeroed().values
    for mode, step in (("eval", extractor.eval), ("train", extractor.train), ("train", extractor.train)):
        step()
        found = extractor.features(wave).zeroed().values
        require(torch.equal(found, expected), f"features in {mode}() mode are not those of before")
        extractor(wave)


def features_learn_nothing(case: ExtractorCase) -> None:
    """Features carry no gradient and do not move with the parameters that are trained."""
    extractor = case.build().train()
    wave = case.wave(extractor)
    before = extractor.features(wave)
    require(not before.values.requires_grad, "features require a gradient: what learns belongs into encode")
    with torch.no_grad():
        for parameter in extractor.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter))
    after = extractor.features(wave)
    require(
        torch.equal(after.zeroed().values, before.zeroed().values),
        "features change when trained parameters do: freeze those (requires_grad_(False)) or use them in encode",
    )


def gradients_reach_what_is_trained(case: ExtractorCase) -> None:
    """Every trained parameter gets a finite gradient, not always zero, with NaN beyond the lengths; no other does."""
    extractor, nan = case.build(), float("nan")

    def forward() -> tuple[Tensor, dict[str, Tensor]]:
        features = extractor.features(with_garbage(case.wave(extractor), nan))
        output = extractor.encode(with_garbage(features, nan))
        return random_sum({"output": output.zeroed().values}), {}

    require_gradients(extractor, forward)


def silence_is_finite(case: ExtractorCase) -> None:
    """Digital silence gives finite frames and finite gradients."""
    extractor = case.build().train()
    wave = case.wave(extractor)
    silence = Seq(torch.zeros_like(wave.values), wave.lengths)
    require_finite(extractor, {"output": extractor(silence).zeroed().values}, "of digital silence")


def input_is_left_alone(case: ExtractorCase) -> None:
    """Neither `features` nor `encode` writes into its input."""
    extractor = case.build().train()
    wave = case.wave(extractor)
    require_unwritten(extractor.features, wave, what="features")
    require_unwritten(extractor.encode, extractor.features(wave), what="encode")


SUITE = Suite(
    ExtractorCase,
    (
        arguments_are_documented,
        attributes_are_as_declared,
        shapes_are_as_declared,
        forward_is_encode_of_features,
        garbage_changes_nothing,
        batch_equals_alone,
        features_can_be_padded_anew,
        features_are_deterministic,
        features_learn_nothing,
        gradients_reach_what_is_trained,
        frozen_is_deterministic_in_training,
        state_survives_safetensors,
        portable_args_build_it_again,
        front_end_args_identify_features,
        front_end_args_tell_arguments_apart,
        silence_is_finite,
        input_is_left_alone,
        runs_in_bfloat16,
    ),
)


def _counts(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number > 0


def _require_shape(extractor: Extractor, wave: Seq, frames: list[int], what: str) -> None:
    features = extractor.features(wave)
    require(features.values.dim() == 3, f"{what}: features are {list(features.values.shape)}, not 3 axes")
    for name, seq in (("features", features), ("output", extractor.encode(features))):
        batch, time = seq.values.shape[:2]
        require(batch == len(wave.lengths), f"{what}: {name} has {batch} rows")
        require(seq.lengths.dtype == torch.int64, f"{what}: lengths of {name} are {seq.lengths.dtype}, not int64")
        low, high = int(seq.lengths.min()), int(seq.lengths.max())
        require(low >= 1 and high <= time, f"{what}: lengths of {name} {low} to {high} do not fit time {time}")
        require(
            not seq.full or low == time, f"{what}: {name} is said to be full, with lengths {low} to {high} of {time}"
        )
    output = extractor.encode(features)
    require(output.lengths.tolist() == frames, f"{what}: lengths {output.lengths.tolist()}, frame_count {frames}")
    require(output.values.shape[1] == max(frames), f"{what}: time {output.values.shape[1]}, not {max(frames)}")
    channels = output.values.shape[2]
    require(channels == extractor.channels, f"{what}: {channels} channels, declared {extractor.channels}")
    require(output.zeroed().values.isfinite().all(), f"{what}: output is not finite")


def _require_rows(found: Seq, expected: Seq, tolerance: float, what: str, batch: Seq | None = None) -> None:
    """Equal lengths, and equal values up to them; time axes may differ. Tiny rows are judged beside their batch."""
    same = torch.equal(found.lengths, expected.lengths)
    require(same, f"{what}: lengths {found.lengths.tolist()} against {expected.lengths.tolist()}")
    time = int(expected.lengths.max())
    scale = 0.01 * float(batch.zeroed().values.detach().abs().max()) if batch is not None else 0.0
    one, two = found.zeroed().values[:, :time], expected.zeroed().values[:, :time]
    require_equal(one, two, tolerance, what, scale=scale)
