"""A trained system as one ONNX file, which is compared with torch before it is kept."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

import toolkit
from toolkit.contracts import Seq
from toolkit.corpus.utterance import MIN_SAMPLES
from toolkit.errors import OnnxError
from toolkit.files import DISTRIBUTION, replacing
from toolkit.inference.bundle.config import Usage
from toolkit.inference.onnx.graph import NotExportable, Part, model_inputs, reason, trace
from toolkit.model.system import System

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
LARGEST_GB = 1.5  # above, the exporter writes a second file for the weights, since a file holds at most 2 GiB
LONGEST_TRACED_S = 2.0  # loops over time are unrolled, which takes long
TOLERANCE = 1e-4
SILENT = 4  # ONNX Runtime's level for fatal errors alone; others are raised


@dataclass(frozen=True)
class OnnxReport:
    """What was written, and how well it agrees with torch."""

    path: Path
    inputs: tuple[str, ...]
    fixed_samples: int | None  # the only length of the time axis, None if any fits
    compared: tuple[tuple[int, int], ...]  # rows and samples of each compared batch
    difference: float  # the largest of a log-probability, relative to it where it is below -1

    def __str__(self) -> str:
        """Two lines for a terminal."""
        length = "of any length" if self.fixed_samples is None else f"of {self.fixed_samples} samples, no other length"
        sizes = ", ".join(f"{rows} x {samples}" for rows, samples in self.compared)
        return (
            f"{self.path}: segments {length}; inputs {', '.join(self.inputs)}\n"
            f"Compared with torch on batches of {sizes} samples: the largest difference is {self.difference:.1e}."
        )


def export_onnx(system: System, usage: Usage, path: Path | str) -> OnnxReport:
    """Write a system as an ONNX model of a batch of segments, if ONNX Runtime computes what torch computes.

    Inputs: waveform [batch, samples], float32; lengths [batch], int64, in samples; for every covariate that is given,
    covariate_NAME [batch], int64, the index of its value, or -1 if unknown. Samples beyond a length are
    ignored. Output: log_probabilities [batch, classes], float32, of the head `usage.predict_from`, at the temperature
    of `usage`.

    Args: system: on the CPU, in eval() mode; usage: becomes the model's metadata; path: of the file; an existing one is
        replaced in one step, and only once the comparison has passed.
    Raises: OnnxError if a package is missing, a part cannot be exported or differs from torch, or the file cannot be
        written; then nothing is left behind.
    """
    _check(system)
    path = Path(path)
    *parts, answer = _parts(system, usage)
    try:
        with replacing(path, OnnxError, "choose another name or make room") as partial:
            difference = _export(answer, usage, partial)
    except NotExportable as error:
        part, cause = _blame(parts, usage) or (answer, error)
        raise OnnxError(f"The {part.name} cannot be exported to ONNX: {cause}.") from error
    inputs = tuple(model_inputs(answer.example(1, 1)))
    return OnnxReport(path, inputs, system.fixed_samples, tuple(_sizes(answer, usage)), difference)


def _check(system: System) -> None:
    """Refuse to export if a package is missing, or if one file cannot hold the weights."""
    if missing := ", ".join(name for name in PACKAGES if find_spec(name) is None):
        raise OnnxError(f"ONNX export needs {missing}, which is not installed: pip install '{DISTRIBUTION}[onnx]'.")
    size = sum(tensor.nbytes for tensor in (*system.parameters(), *system.buffers())) / 1e9
    if size > LARGEST_GB:
        raise OnnxError(
            f"The system's weights are {size:.1f} GB; one ONNX file can hold {LARGEST_GB} GB. A smaller backbone fits."
        )


def _parts(system: System, usage: Usage) -> list[Part]:
    """Each level by itself, then the levels with the fusion, then everything up to the answer."""
    head = usage.predict_from

    def frames_of(name: str) -> Part:
        level = system.levels[name]
        return Part(system, lambda wave, _: level(wave).zeroed().values, f"level {name!r} ({type(level).__name__})")

    def fused(wave: Seq, covariates: Mapping[str, Tensor]) -> Tensor:
        return system.read_by(head, system.embed(system.features(wave), covariates)[0])

    def log_probabilities(wave: Seq, covariates: Mapping[str, Tensor]) -> Tensor:
        return usage.scores(system(wave, covariates).logits[head])

    return [
        *(frames_of(name) for name in system.levels),
        Part(system, fused, f"fusion ({type(system.fusion).__name__})"),
        Part(system, log_probabilities, f"head {head!r} ({type(system.heads[head]).__name__})"),
    ]


def _export(part: Part, usage: Usage, path: Path) -> float:
    """Trace a part, write it, compare it with torch, and return the largest difference."""
    longest = min(usage.audio.segment_samples * 3 // 4, round(LONGEST_TRACED_S * usage.audio.sample_rate))
    program = trace(part, samples=part.fixed_samples or longest)
    program.model.producer_name, program.model.producer_version = toolkit.__name__, toolkit.__version__
    metadata = {
        "labels": usage.labels,
        "sample_rate": usage.audio.sample_rate,
        "segment_samples": usage.audio.segment_samples,
        "fixed_samples": part.fixed_samples,
        "tail": usage.audio.tail,
        "covariates": usage.covariates,
        "stamps": usage.stamps,
        "temperature": usage.confidence.temperature,
        "toolkit_version": toolkit.__version__,
    }
    program.model.metadata_props.update({key: json.dumps(value) for key, value in metadata.items()})
    program.save(path)
    return _largest_difference(path, part, _sizes(part, usage))


def _sizes(part: Part, usage: Usage) -> list[tuple[int, int]]:
    """Rows and samples of batches that differ from the traced one; the last is shorter than any that a system gets."""
    if part.fixed_samples is not None:
        return [(1, part.fixed_samples), (5, part.fixed_samples)]
    return [(1, usage.audio.segment_samples), (5, usage.audio.segment_samples // 3 + 1), (3, MIN_SAMPLES // 2)]


def _largest_difference(path: Path, part: Part, sizes: list[tuple[int, int]]) -> float:
    """The largest difference of a log-probability from torch's: absolute down to -1, relative below.

    Raises: NotExportable if it is above TOLERANCE.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = SILENT
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no base class
        raise NotExportable(f"ONNX Runtime cannot load it: {reason(error)}") from error
    largest = 0.0
    for rows, samples in sizes:
        example = part.example(rows, samples)
        batch = f"a batch of {rows} x {samples} samples"
        try:
            (found,) = session.run(None, {name: tensor.numpy() for name, tensor in model_inputs(example).items()})
        except Exception as error:  # as above
            raise NotExportable(f"ONNX Runtime cannot run {batch}: {reason(error)}") from error
        with torch.no_grad():
            expected = part(**example)
        if found.shape != tuple(expected.shape):
            raise NotExportable(f"for {batch} ONNX Runtime computes {list(found.shape)}, torch {list(expected.shape)}")
        difference = float(((torch.from_numpy(found) - expected).abs() / expected.abs().clamp_min(1)).max())
        if not difference <= TOLERANCE:  # NaN does not agree either
            raise NotExportable(f"for {batch} ONNX Runtime and torch differ by {difference:.2g}")
        largest = max(largest, difference)
    return largest


def _blame(parts: list[Part], usage: Usage) -> tuple[Part, NotExportable] | None:
    """The first part that cannot be exported by itself, and why; None if each can."""
    with tempfile.TemporaryDirectory() as folder:
        for part in parts:
            try:
                _export(part, usage, Path(folder) / "part.onnx")
            except NotExportable as error:
                return part, error
    return None
