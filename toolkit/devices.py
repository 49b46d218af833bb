"""Where torch computes: the device that is asked for, else a GPU if there is one."""

import torch

from toolkit.errors import DeviceError


def available_device(name: str | None, *, setting: str) -> str:
    """Check a device's name.

    Args:
        name: cpu, cuda, cuda:1, ...; None takes a GPU if there is one.
        setting: where the name was given, for the error.

    Returns:
        The name, as torch takes it.

    Raises:
        DeviceError: if there is no such device.

    >>> available_device("cpu", setting="--device")
    'cpu'
    """
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise DeviceError(f"{setting} is {name!r}: cpu, cuda, or cuda:1 and so on is needed.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"{setting} is {name!r}, and torch finds {torch.cuda.device_count()} GPUs here.")
    return "cpu" if device.type == "cpu" else name
