"""A trained system as one ONNX file, which is compared with torch before it is kept."""

import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import toolkit
from toolkit.contracts import Seq
from toolkit.corpus.utterance import MIN_SAMPLES
from toolkit.errors import BundleError, one_line
from toolkit.files import DISTRIBUTION, write_whole
from toolkit.inference.bundle.config import Usage
from toolkit.model.system import System

TRACED_ROWS = 2  # the exporter would fix a batch axis of one row
LONGEST_TRACED_S = 2.0  # loops over time are unrolled, which takes long
LARGEST_GB = 1.5  # above, the exporter writes a second file for the weights, since a file holds at most 2 GiB
TOLERANCE = 1e-4


def export_onnx(system: System, usage: Usage, path: Path | str) -> float:
    """Write `onnx_model` to a file, and return its difference from torch; BundleError if the file cannot be written."""
    model, difference = onnx_model(system, usage)
    write_whole(Path(path), model, BundleError, "choose another name or make room")
    return difference


def onnx_model(system: System, usage: Usage) -> tuple[bytes, float]:
    """A system as an ONNX model, and its largest difference of a log-probability from torch's, relative below -1.

    docs/onnx.md lists inputs and output. Raises: BundleError if a package is missing, or a part cannot be exported.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        line = f"ONNX export needs {error.name}, which is not installed: pip install '{DISTRIBUTION}[onnx]'."
        raise BundleError(line) from None
    size = sum(tensor.nbytes for tensor in (*system.parameters(), *system.buffers())) / 1e9
    if size > LARGEST_GB:
        raise BundleError(f"The system's weights are {size:.1f} GB, and one ONNX file can hold {LARGEST_GB} GB.")
    *parts, answer = _parts(system, usage)
    try:
        return _export(answer, usage)
    except BundleError:
        for part in parts:  # the first that cannot be exported by itself is to blame
            _export(part, usage)
        raise


class Part(nn.Module):
    """One tensor that a system computes from a batch of segments, which are prepared as the core prepares them."""

    def __init__(self, system: System, compute: Callable[[Seq, Mapping[str, Tensor]], Tensor], name: str):
        super().__init__()
        self.system, self.compute, self.name = system, compute, name
        self.fixed_samples = system.fixed_samples

    def forward(self, waveform: Tensor, lengths: Tensor, *covariates: Tensor) -> Tensor:
        """The tensor of waveforms [batch, samples], their lengths [batch], and class indices [batch] by covariate."""
        # Zeros beyond the lengths count as audio up to the shortest or the only length that a system takes.
        wave, given = Seq(waveform, lengths).zeroed(), dict(zip(self.system.given_covariates, covariates, strict=True))
        if self.fixed_samples is not None:
            return self.compute(Seq(wave.values, torch.full_like(lengths, self.fixed_samples)), given)
        # Always the same padding: tracing cannot know how much is missing, and surplus zeros change nothing.
        values = functional.pad(wave.values, (0, MIN_SAMPLES))
        return self.compute(Seq(values, lengths.clamp_min(MIN_SAMPLES)), given)

    def example(self, rows: int, samples: int) -> dict[str, Tensor]:
        """The model's inputs: noise of different levels and lengths, loud beyond them; the second row is silent."""
        generator = torch.Generator().manual_seed(rows)
        level = torch.logspace(-1, -3, rows)
        level[1:2] = 0
        lengths = torch.linspace(samples, max(1, samples // 3), rows).long()
        noise = torch.randn(2, rows, samples, generator=generator)
        real = torch.arange(samples) < lengths[:, None]
        wave = torch.where(real, level[:, None] * noise[0], 100 * noise[1])
        sizes = self.system.given_covariates.items()
        covariates = {f"covariate_{name}": torch.arange(rows) % (classes + 1) - 1 for name, classes in sizes}
        return {"waveform": wave, "lengths": lengths, **covariates}

    def refused(self, cause: str) -> BundleError:
        """The error for a part that cannot be exported, or whose export does not agree with torch."""
        return BundleError(f"The {self.name} cannot be exported to ONNX: {cause}.")


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


def _export(part: Part, usage: Usage) -> tuple[bytes, float]:
    """Trace a part and compare it with torch; returns the model and the largest difference."""
    segment, fixed = usage.audio.segment_samples, part.fixed_samples
    longest = min(segment * 3 // 4, round(LONGEST_TRACED_S * usage.audio.sample_rate))
    program = _trace(part, samples=fixed or longest)
    program.model.producer_name, program.model.producer_version = toolkit.__name__, toolkit.__version__
    metadata = {
        "labels": usage.labels,
        "sample_rate": usage.audio.sample_rate,
        "segment_samples": segment,
        "fixed_samples": fixed,
        "tail": usage.audio.tail,
        "covariates": usage.covariates,
        "stamps": usage.stamps,
        "temperature": usage.confidence.temperature,
        "toolkit_version": toolkit.__version__,
    }
    program.model.metadata_props.update({key: json.dumps(value) for key, value in metadata.items()})
    model = program.model_proto.SerializeToString()
    # the last batch is shorter than any that a system gets
    sizes = [(1, fixed), (5, fixed)] if fixed else [(1, segment), (5, segment // 3 + 1), (3, MIN_SAMPLES // 2)]
    return model, _largest_difference(model, part, sizes)


def _trace(part: Part, *, samples: int) -> torch.onnx.ONNXProgram:
    """A part as an ONNX graph with a free batch axis and, if the system takes any length, a free time axis."""
    example, rows = part.example(TRACED_ROWS, samples), {0: "batch"}
    axes = rows if part.fixed_samples is not None else rows | {1: "samples"}
    given = {"covariates": (rows,) * (len(example) - 2)} if len(example) > 2 else {}  # the exporter wants no empty one
    try:
        with torch.no_grad(), _quiet():
            # A front end computes windows and filters once and keeps them; while tracing it would keep stand-ins.
            part(*example.values())
            program = torch.onnx.export(
                part,
                tuple(example.values()),
                input_names=list(example),
                output_names=["log_probabilities"],
                dynamic_shapes={"waveform": axes, "lengths": rows, **given},
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # the exporter raises anything, and so does a plugin's code below it
        raise part.refused(f"torch's exporter reports {_reason(error)}") from error
    _tidy(program.model.graph, axes)
    return program


def _tidy(graph: Any, axes: Mapping[int, str]) -> None:
    """Name the axes, and drop metadata about this machine's files and sizes that hold only for the example."""
    for node in graph.all_nodes():
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
            if value not in graph.outputs:
                value.shape = None
    for value in graph.inputs:
        for axis, name in (axes if value.name == "waveform" else {0: "batch"}).items():
            value.shape[axis] = name
    for value in graph.outputs:
        value.shape[0] = "batch"


def _largest_difference(model: bytes, part: Part, sizes: list[tuple[int, int]]) -> float:
    """The largest difference from torch on batches of these rows and samples: absolute down to -1, relative below."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # fatal errors alone; others are raised
    found, batch = {}, "the model"
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        for rows, samples in sizes:
            example, batch = part.example(rows, samples), f"a batch of {rows} x {samples} samples"
            (answer,) = session.run(None, {name: tensor.numpy() for name, tensor in example.items()})
            with torch.no_grad():
                expected = part(*example.values())
            found[batch] = float(((torch.from_numpy(answer) - expected).abs() / expected.abs().clamp_min(1)).max())
    except Exception as error:  # those of ONNX Runtime share no base class
        raise part.refused(f"ONNX Runtime cannot run {batch}: {_reason(error)}") from error
    for batch, difference in found.items():
        if not difference <= TOLERANCE:  # NaN does not agree either
            raise part.refused(f"for {batch} ONNX Runtime and torch differ by {difference:.2g}")
    return max(found.values())


def _reason(error: BaseException) -> str:
    """The first line of an error's root cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    return one_line(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}").rstrip(" .:")


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the exporter's warnings and dumps of unfinished graphs, which help no user; its errors are raised."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
