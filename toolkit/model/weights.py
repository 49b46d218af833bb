"""A system's weights, written to and read from model.safetensors."""

from collections.abc import Mapping

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from toolkit.errors import BundleError, one_line
from toolkit.model.archive import WEIGHTS
from toolkit.model.system import System


def weights_of(system: System) -> bytes:
    """A system's state as the bytes of a safetensors file; BundleError if a part is not a tensor."""
    state = system.state_dict()
    if odd := [name for name, value in state.items() if not isinstance(value, Tensor)]:
        raise BundleError(f"The system's state holds {odd[0]}, which is not a tensor: {WEIGHTS} cannot hold it.")
    return save({name: value.detach().cpu().contiguous().clone() for name, value in state.items()})


def read_weights(data: bytes) -> dict[str, Tensor]:
    """The tensors of a safetensors file, by name; BundleError if it is damaged."""
    try:
        return load(data)
    except (SafetensorError, KeyError) as error:  # KeyError: a type that torch does not have
        raise BundleError(f"{WEIGHTS} is damaged ({one_line(error)}): get the bundle again.") from None


def load_weights(system: System, state: Mapping[str, Tensor]) -> None:
    """Load tensors into a system; BundleError unless they are exactly its state, by name, shape and dtype."""
    here, there = (
        {name: f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}" for name, tensor in each.items()}
        for each in (system.state_dict(), state)
    )
    for name in sorted(here | there):
        if (found := there.get(name, "missing")) != (expected := here.get(name, "no such tensor")):
            problem = f"{one_line(name)} is {found}; the system of its config.json has {expected}"
            raise BundleError(f"{WEIGHTS}: {problem}.")
    system.load_state_dict(state)
