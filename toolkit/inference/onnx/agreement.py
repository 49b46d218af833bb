"""Whether ONNX Runtime computes from a file what torch computes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from toolkit.inference.onnx.graph import Batch, NotExportable, Part, flat, reason

TOLERANCE = 1e-4
SILENT = 4  # ONNX Runtime's level for fatal errors alone; others are raised


def largest_difference(path: Path, part: Part, sizes: Sequence[tuple[int, int]]) -> float:
    """Compare an ONNX model with the part that it was traced from.

    Args:
        path: of the model.
        part: what it has to agree with.
        sizes: rows and samples of the batches to compare.

    Returns:
        The largest difference of any value, relative to it where it is beyond 1.

    Raises:
        NotExportable: if it cannot be run, or differs by more than `TOLERANCE`.
    """
    session, largest = _session(path), 0.0
    for rows, samples in sizes:
        place = f"a batch of {rows} x {samples} samples"
        batch = part.batch(rows, samples)
        found = _run(session, batch, place)
        with torch.no_grad():
            expected = part(**batch)
        largest = max(largest, _difference(found, expected, place))
    return largest


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = SILENT
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no base of their own
        raise NotExportable(f"ONNX Runtime cannot load it: {reason(error)}") from error


def _run(session: Any, batch: Batch, place: str) -> Tensor:
    try:
        (found,) = session.run(None, {name: tensor.numpy() for name, tensor in flat(batch).items()})
    except Exception as error:  # as above
        raise NotExportable(f"ONNX Runtime cannot run {place}: {reason(error)}") from error
    return torch.from_numpy(found)


def _difference(found: Tensor, expected: Tensor, place: str) -> float:
    if found.shape != expected.shape:
        raise NotExportable(f"of {place} ONNX Runtime makes {list(found.shape)}, torch {list(expected.shape)}")
    difference = float(((found - expected).abs() / expected.abs().clamp_min(1)).max())
    if not difference <= TOLERANCE:  # NaN is no agreement
        raise NotExportable(f"of {place} ONNX Runtime makes other numbers than torch, by {difference:.2g}")
    return difference
