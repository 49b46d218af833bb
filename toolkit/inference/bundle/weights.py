"""model.safetensors: a system's parameters and buffers, taken out and put back."""

from collections.abc import Iterable, Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from toolkit.errors import BundleError
from toolkit.inference.bundle.archive import WEIGHTS
from toolkit.inference.bundle.config import one_line
from toolkit.model.system import System


def weights_of(system: System) -> bytes:
    """A system's state as the bytes of a safetensors file.

    Raises:
        BundleError: if a part of the state is no tensor, or not finite.
    """
    state = system.state_dict()
    odd = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if odd:
        raise BundleError(f"The system's state holds {_some(odd)}: no tensor, which {WEIGHTS} cannot hold.")
    _refuse_not_finite(state, "The system")
    return save({name: value.detach().cpu().contiguous().clone() for name, value in state.items()})


def load_weights(system: System, data: bytes) -> None:
    """Put the state of a safetensors file into a system; all of it has to fit, by name, shape and dtype.

    Raises:
        BundleError: if the file is damaged, or does not hold exactly this system's state; the system is as before.
    """
    try:
        found = load(data)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise BundleError(f"{WEIGHTS} is damaged ({one_line(error)}): get the bundle again.") from None
    expected = system.state_dict()
    if missing := [name for name in expected if name not in found]:
        raise BundleError(f"{WEIGHTS} lacks {_some(missing)}, which the system of its config.json has.")
    if extra := sorted(set(found) - set(expected)):
        raise BundleError(f"{WEIGHTS} holds {_some(extra)}, which the system of its config.json has not.")
    for name, tensor in expected.items():
        one, other = _description(found[name]), _description(tensor)
        if one != other:
            raise BundleError(f"{WEIGHTS}: {name} is {one}; the system of its config.json has {other}.")
    _refuse_not_finite(found, WEIGHTS)
    system.load_state_dict(found)


def _refuse_not_finite(state: Mapping[str, Tensor], what: str) -> None:
    bad = [name for name, tensor in state.items() if tensor.is_floating_point() and not torch.isfinite(tensor).all()]
    if bad:
        raise BundleError(f"{what} has values that are not finite in {_some(bad)}.")


def _description(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _some(names: Iterable[str]) -> str:
    first, *rest = map(one_line, names)
    return f"{first} and {len(rest)} more" if rest else first
