"""A system's weights, written to and read from model.safetensors, whose header is not trusted."""

import hashlib
import math
from collections.abc import Mapping
from typing import BinaryIO

import torch
from safetensors.torch import save
from torch import Tensor

from toolkit.errors import BundleError, one_line
from toolkit.files import parse_json
from toolkit.model.archive import WEIGHTS
from toolkit.model.system import System

LARGEST_HEADER = 16 << 20  # bytes of a safetensors file's header
DTYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "BOOL": torch.bool},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8},
}


def weights_of(system: System) -> bytes:
    """A system's state as the bytes of a safetensors file; BundleError if a part is not a tensor, or not finite."""
    state = system.state_dict()
    if odd := [name for name, value in state.items() if not isinstance(value, Tensor)]:
        raise BundleError(f"The system's state holds {odd[0]}, which is not a tensor: {WEIGHTS} cannot hold it.")
    refuse_not_finite(state, "The system")
    return save({name: value.detach().cpu().contiguous().clone() for name, value in state.items()})


class WeightsFile:
    """A safetensors file of `size` bytes, read once: its header (`kinds`: name -> dtype and shape), then its tensors.

    Raises: ValueError if it is not such a file.
    """

    def __init__(self, file: BinaryIO, size: int):
        self._file = file
        self.digest = hashlib.sha256()
        length = int.from_bytes(self._read(min(size, 8)), "little")
        if length > min(size, LARGEST_HEADER):
            raise ValueError(f"its header has {length} bytes")
        header = parse_json(bytes(self._read(length)), strict=True)
        self.kinds: dict[str, tuple[torch.dtype, torch.Size]] = {}
        end = 0
        try:
            header.pop("__metadata__", None)
            for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
                dtype, shape = self.kinds[name] = DTYPES[entry["dtype"]], torch.Size(entry["shape"])
                start, end = end, end + math.prod(shape) * dtype.itemsize
                if [start, end] != entry["data_offsets"] or min(shape, default=0) < 0:
                    raise ValueError(f"{one_line(name)} does not lie where its shape puts it")
        except (AttributeError, KeyError, TypeError, RuntimeError) as error:
            raise ValueError(f"its header is wrong: {one_line(error)}") from None
        if end != size - 8 - length:
            raise ValueError("it ends before or after its last tensor")

    def read(self) -> dict[str, Tensor]:
        """All tensors, by name."""
        tensors = {}
        for name, (dtype, shape) in self.kinds.items():
            data = self._read(math.prod(shape) * dtype.itemsize)
            tensors[name] = torch.frombuffer(data, dtype=dtype).view(shape) if data else torch.empty(shape, dtype=dtype)
        return tensors

    def _read(self, count: int) -> bytearray:
        data = bytearray(count)
        if self._file.readinto(data) != count:
            raise ValueError("it ends too early")
        self.digest.update(data)
        return data


def load_weights(system: System, weights: WeightsFile) -> None:
    """Load the state of a safetensors file into a system; every name, shape and dtype must match.

    Raises: BundleError if the file does not hold exactly this system's state; no tensor is read then. ValueError if it
        ends too early.
    """
    expected = {name: (tensor.dtype, tensor.shape) for name, tensor in system.state_dict().items()}
    for name in sorted(expected | weights.kinds):
        there, here = weights.kinds.get(name), expected.get(name)
        if there != here:
            raise BundleError(
                f"{WEIGHTS}: {one_line(name)} is {_shown(there, 'missing')}; the system of its config.json "
                f"has {_shown(here, 'no such tensor')}."
            )
    state = weights.read()
    refuse_not_finite(state, WEIGHTS)
    system.load_state_dict(state)


def _shown(kind: tuple[torch.dtype, torch.Size] | None, otherwise: str) -> str:
    return f"{str(kind[0]).removeprefix('torch.')} {list(kind[1])}" if kind else otherwise


def refuse_not_finite(state: Mapping[str, Tensor], what: str) -> None:
    """Raise BundleError, with the name of the first tensor that holds a value that is not finite."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise BundleError(f"{what} has values that are not finite in {name}.")
