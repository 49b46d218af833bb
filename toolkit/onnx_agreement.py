"""Whether ONNX Runtime computes from a file what torch computes."""

from collections.abc import Sequence
from pathlib import Path

import torch

from toolkit.onnx_graph import NotExportable, Part, flat, reason

TOLERANCE = 1e-4
SILENT = 4  # ONNX Runtime's level for fatal errors alone; others are raised


def largest_difference(path: Path, part: Part, sizes: Sequence[tuple[int, int]], *, relative: bool = False) -> float:
    """Compare an ONNX model with the part that it was traced from.

    Args:
        path: of the model.
        part: what it has to agree with.
        sizes: rows and samples of the batches to compare.
        relative: to the largest value that torch gives, instead of absolute.

    Returns:
        The largest difference of any value.

    Raises:
        NotExportable: if it cannot be run, or differs by more than `TOLERANCE`.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = SILENT
    largest, place = 0.0, "it"
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        for rows, samples in sizes:
            place = f"a batch of {rows} x {samples} samples"
            batch = part.batch(rows, samples)
            (found,) = session.run(None, {name: tensor.numpy() for name, tensor in flat(batch).items()})
            with torch.no_grad():
                expected = part(**batch)
            largest = max(largest, _difference(torch.from_numpy(found), expected, place, relative=relative))
    except NotExportable:
        raise
    except Exception as error:  # ONNX Runtime's own, which have no common base
        raise NotExportable(f"ONNX Runtime cannot run {place}: {reason(error)}") from error
    return largest


def _difference(found: torch.Tensor, expected: torch.Tensor, place: str, *, relative: bool) -> float:
    if found.shape != expected.shape:
        raise NotExportable(f"of {place} ONNX Runtime makes {list(found.shape)}, torch {list(expected.shape)}")
    scale = max(1e-30, float(expected.abs().max())) if relative else 1.0
    difference = float((found - expected).abs().max()) / scale
    if not difference <= TOLERANCE:  # NaN is no agreement
        raise NotExportable(f"of {place} ONNX Runtime makes other numbers than torch, by {difference:.2g}")
    return difference
