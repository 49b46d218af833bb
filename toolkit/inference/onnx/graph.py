"""What of a system is traced for ONNX: a function of waveforms, their lengths and covariates, as an ONNX graph."""

import logging
import os
import re
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
from toolkit.model.system import System

Batch = Mapping[str, Any]  # waveform, lengths and covariates, as a Part takes them


class NotExportable(Exception):  # noqa: N818 - reads as what it says of a part
    """A part cannot be exported, or its export does not agree with torch; says why."""


class Part(nn.Module):
    """What is read of a system for a batch of segments, which are prepared as the core prepares them.

    Args:
        system: on the CPU, in eval() mode.
        read: (waveforms, covariates) -> [batch, ...], one tensor that is computed by the system.
        name: what to call the part in an error.
    """

    def __init__(self, system: System, read: Callable[[Seq, Mapping[str, Tensor]], Tensor], name: str):
        super().__init__()
        self.system, self.read, self.name = system, read, name
        self.fixed_samples = system.fixed_samples

    def forward(self, waveform: Tensor, lengths: Tensor, covariates: Mapping[str, Tensor]) -> Tensor:
        """Zeros beyond the lengths, which count as real up to the least or the only length that a system takes.

        Args: waveform [batch, samples]; lengths [batch]; covariates name -> class indices [batch].
        Returns: what is read.
        """
        wave = Seq(waveform, lengths).zeroed()
        if self.fixed_samples is not None:
            return self.read(Seq(wave.values, torch.full_like(lengths, self.fixed_samples)), covariates)
        # Always so many more: how many are missing is not known while tracing, and more than are real change nothing.
        values = functional.pad(wave.values, (0, MIN_SAMPLES))
        return self.read(Seq(values, lengths.clamp_min(MIN_SAMPLES)), covariates)

    def batch(self, rows: int, samples: int) -> Batch:
        """Noise of different levels and lengths, the second row silent, with other loud noise beyond the lengths."""
        generator = torch.Generator().manual_seed(rows)
        level = torch.logspace(-1, -3, rows)
        level[1:2] = 0
        lengths = torch.linspace(samples, max(1, samples // 3), rows).long()
        noise = torch.randn(2, rows, samples, generator=generator)
        real = torch.arange(samples) < lengths[:, None]
        return {
            "waveform": torch.where(real, level[:, None] * noise[0], 100 * noise[1]),
            "lengths": lengths,
            "covariates": {
                name: torch.arange(rows) % (classes + 1) - 1 for name, classes in self.system.given_covariates.items()
            },
        }


def flat(batch: Batch) -> dict[str, Tensor]:
    """A batch by the names of the model's inputs, in their order."""
    covariates = {f"covariate_{name}": values for name, values in batch["covariates"].items()}
    return {"waveform": batch["waveform"], "lengths": batch["lengths"], **covariates}


def trace(part: Part, *, rows: int, samples: int, output: str) -> torch.onnx.ONNXProgram:
    """A part as an ONNX graph with a free batch axis and, where the system takes any length, a free time axis.

    Args:
        part: what to trace.
        rows: of the example; 2 or more.
        samples: of the example.
        output: what to call the graph's output.

    Raises:
        NotExportable: if the exporter fails.
    """
    example = part.batch(rows, samples)
    axes = {0: "batch"} if part.fixed_samples is not None else {0: "batch", 1: "samples"}
    shapes = {
        "waveform": axes,
        "lengths": {0: "batch"},
        "covariates": {name: {0: "batch"} for name in example["covariates"]},
    }
    try:
        with torch.no_grad(), _quiet():
            # Windows and filters that a front end computes once and keeps: in a trace they would be the tracer's.
            part(**example)
            program = torch.onnx.export(
                part,
                kwargs=example,
                input_names=list(flat(example)),
                output_names=[output],
                dynamic_shapes=shapes,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # the exporter raises anything, and so does a plugin's code below it
        raise NotExportable(f"torch's exporter says {reason(error)}{_place(part, error)}") from error
    _tidy(program.model.graph, axes)
    return program


def reason(error: BaseException) -> str:
    r"""The first line of what is at the bottom of an error.

    >>> reason(ValueError("no more than one.\nStack trace: ..."))
    'ValueError: no more than one'
    """
    error = _bottom(error)
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()  # without colours
    return f"{type(error).__name__}: {text.partition(chr(10))[0].rstrip(' .')}" if text else type(error).__name__


def _bottom(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _place(part: Part, error: BaseException) -> str:
    """The line of a plugin at which the exporter stopped; nothing where it stopped elsewhere."""
    names = {type(module).__module__ for module in part.modules()}
    plugins = {name for name in names if name.partition(".")[0] not in ("torch", "toolkit")}
    files = {getattr(sys.modules.get(name), "__file__", None) for name in plugins}
    lines = [frame for frame in traceback.extract_tb(_bottom(error).__traceback__) if frame.filename in files]
    return f" ({Path(lines[-1].filename).name}, line {lines[-1].lineno})" if lines else ""


def _tidy(graph: Any, axes: Mapping[int, str]) -> None:
    """Name the axes, and drop notes on this machine's files and sizes that were true of the example alone."""
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
    """The exporter's warnings and its dumps of half a graph say nothing to a user; its errors are raised."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
