"""Traces a part of a system, a function of waveforms, their lengths and covariates, into an ONNX graph."""

import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolkit.contracts import Seq
from toolkit.corpus.utterance import MIN_SAMPLES
from toolkit.errors import one_line
from toolkit.model.system import System

OUTPUT = "log_probabilities"
TRACED_ROWS = 2  # the exporter would fix a batch axis of one row


class NotExportable(Exception):  # noqa: N818 - reads as the reason it gives
    """A part cannot be exported, or its export does not agree with torch; the text is the reason."""


class Part(nn.Module):
    """A function of a batch of segments, prepared as the core prepares them, that returns one tensor of a system.

    Args: system: on the CPU, in eval() mode; compute: (waveforms, covariates) -> [batch, ...], one tensor that the
        system computes; name: of the part, in errors.
    """

    def __init__(self, system: System, compute: Callable[[Seq, Mapping[str, Tensor]], Tensor], name: str):
        super().__init__()
        self.system, self.compute, self.name = system, compute, name
        self.fixed_samples = system.fixed_samples

    def forward(self, waveform: Tensor, lengths: Tensor, covariates: Mapping[str, Tensor]) -> Tensor:
        """Put zeros beyond the lengths; up to the shortest or the only length that a system takes, they count as audio.

        Args: waveform [batch, samples]; lengths [batch]; covariates name -> class indices [batch].
        """
        wave = Seq(waveform, lengths).zeroed()
        if self.fixed_samples is not None:
            return self.compute(Seq(wave.values, torch.full_like(lengths, self.fixed_samples)), covariates)
        # Always the same padding: tracing cannot know how much is missing, and surplus zeros change nothing.
        values = functional.pad(wave.values, (0, MIN_SAMPLES))
        return self.compute(Seq(values, lengths.clamp_min(MIN_SAMPLES)), covariates)

    def example(self, rows: int, samples: int) -> dict[str, Any]:
        """Arguments of `forward`: noise of different levels and lengths, loud beyond them; the second row is silent."""
        generator = torch.Generator().manual_seed(rows)
        level = torch.logspace(-1, -3, rows)
        level[1:2] = 0
        lengths = torch.linspace(samples, max(1, samples // 3), rows).long()
        noise = torch.randn(2, rows, samples, generator=generator)
        real = torch.arange(samples) < lengths[:, None]
        wave = torch.where(real, level[:, None] * noise[0], 100 * noise[1])
        sizes = self.system.given_covariates.items()
        covariates = {name: torch.arange(rows) % (classes + 1) - 1 for name, classes in sizes}
        return {"waveform": wave, "lengths": lengths, "covariates": covariates}


def model_inputs(example: Mapping[str, Any]) -> dict[str, Tensor]:
    """The arguments of a Part by the names of the model's inputs, in their order."""
    covariates = {f"covariate_{name}": values for name, values in example["covariates"].items()}
    return {"waveform": example["waveform"], "lengths": example["lengths"], **covariates}


def trace(part: Part, *, samples: int) -> torch.onnx.ONNXProgram:
    """A part as an ONNX graph with a free batch axis and, if the system takes any length, a free time axis.

    Raises: NotExportable if the exporter fails.
    """
    example = part.example(TRACED_ROWS, samples)
    axes = {0: "batch"} if part.fixed_samples is not None else {0: "batch", 1: "samples"}
    covariates = {name: {0: "batch"} for name in example["covariates"]}
    shapes = {"waveform": axes, "lengths": {0: "batch"}, "covariates": covariates}
    try:
        with torch.no_grad(), _quiet():
            # A front end computes windows and filters once and keeps them; while tracing it would keep stand-ins.
            part(**example)
            program = torch.onnx.export(
                part,
                kwargs=example,
                input_names=list(model_inputs(example)),
                output_names=[OUTPUT],
                dynamic_shapes=shapes,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # the exporter raises anything, and so does a plugin's code below it
        raise NotExportable(f"torch's exporter reports {reason(error)}{_location(part, error)}") from error
    _tidy(program.model.graph, axes)
    return program


def reason(error: BaseException) -> str:
    r"""The first line of an error's root cause.

    >>> reason(ValueError("no more than one.\nStack trace: ..."))
    'ValueError: no more than one'
    """
    error = _bottom(error)
    first = str(error).strip().partition("\n")[0].rstrip(" .")
    return one_line(f"{type(error).__name__}: {first}" if first else type(error).__name__)


def _bottom(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _location(part: Part, error: BaseException) -> str:
    """The line of a plugin at which the exporter stopped, "" if it stopped elsewhere."""
    names = {type(module).__module__ for module in part.modules()}
    plugins = {name for name in names if name.partition(".")[0] not in ("torch", "toolkit")}
    files = {getattr(sys.modules.get(name), "__file__", None) for name in plugins}
    lines = [frame for frame in traceback.extract_tb(_bottom(error).__traceback__) if frame.filename in files]
    return f" ({Path(lines[-1].filename).name}, line {lines[-1].lineno})" if lines else ""


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
