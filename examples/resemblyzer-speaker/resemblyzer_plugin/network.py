"""The speaker encoder: three LSTM layers over mel frames, the weights those that resemblyzer ships.

Wan, Wang, Papir, Lopez Moreno, "Generalized end-to-end loss for speaker verification", ICASSP 2018.
"""

import hashlib
import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from resemblyzer_plugin.front_end import MELS
from toolkit.errors import PluginError

SIZE, LAYERS = 256, 3  # units of a layer
INSTALL = "pip install --no-deps resemblyzer==0.1.4"


def weights_file() -> Path:
    """The file of weights in the installed package, which is not imported: its import wants webrtcvad and librosa.

    Raises:
        PluginError: if there is none.
    """
    try:
        file = Path(distribution("resemblyzer").locate_file("resemblyzer/pretrained.pt"))
    except PackageNotFoundError:
        raise PluginError(f"resemblyzer, which brings the weights, is not installed: `{INSTALL}`.") from None
    if not file.is_file():
        raise PluginError(f"{file}, the weights of resemblyzer, is not there: `{INSTALL}`.")
    return file


def stored_name(name: str) -> str:
    """What the file calls a parameter; there, the layers are one LSTM.

    >>> stored_name("lstm.2.bias_hh_l0"), stored_name("linear.weight")
    ('lstm.bias_hh_l2', 'linear.weight')
    """
    return re.sub(r"lstm\.(\d)\.(\w+)0", r"lstm.\2\1", name)


class SpeakerNetwork(nn.Module):
    """The network with its pre-trained weights, frozen.

    Raises:
        PluginError: if the weights are not installed or damaged.
    """

    def __init__(self):
        super().__init__()
        self.lstm = nn.ModuleList(nn.LSTM(SIZE if layer else MELS, SIZE, batch_first=True) for layer in range(LAYERS))
        self.linear = nn.Linear(SIZE, SIZE)
        path = weights_file()
        try:
            stored = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
            self.load_state_dict({name: stored[stored_name(name)] for name in self.state_dict()})
        except Exception as error:  # whatever a damaged file raises
            problem = type(error).__name__
            raise PluginError(f"{path} does not hold the expected weights ({problem}): `{INSTALL}`.") from error
        self.requires_grad_(False)

    def states(self, mels: Tensor, layers: int = LAYERS) -> Tensor:
        """A layer's output after each frame; later frames change nothing.

        Args: mels [batch, time, 40]; layers: how many to go up.
        Returns: [batch, time, 256].
        """
        for layer in self.lstm[:layers]:
            mels, _ = layer(mels)
        return mels

    def embed(self, windows: Tensor) -> Tensor:
        """The embedding of each window: not negative, of length 1.

        Args: windows [windows, time, 40].
        Returns: [windows, 256].
        """
        return functional.normalize(torch.relu(self.linear(self.states(windows)[:, -1])), dim=1)

    def fingerprint(self) -> str:
        """The SHA-256 of the weights."""
        digest = hashlib.sha256()
        for name, value in sorted(self.state_dict().items()):
            digest.update(name.encode() + b"\0" + value.cpu().numpy().tobytes())
        return digest.hexdigest()
