"""Recordings in a folder, such as noise and impulse responses."""

import os
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from toolkit.audio.reading import AUDIO_SUFFIXES, files_below, stretch
from toolkit.audio.waves import read_audio
from toolkit_plugins.augmentations.draws import whole


class Recordings:
    """The recordings below a folder, sorted by path and read at `sample_rate`; what is hidden is left out.

    Raises: ValueError if the folder is missing, holds no recording, or a folder in it cannot be listed.
    """

    def __init__(self, folder: str, sample_rate: int):
        root, self.sample_rate = Path(os.path.expanduser(folder)), sample_rate
        if not os.path.isdir(root):
            raise ValueError(f"folder is {folder!r}, which does not exist")
        faults: list[str] = []
        files = files_below(root, faults.append)
        self.files = sorted(path for path in files if path.suffix.lower() in AUDIO_SUFFIXES)
        if faults or not self.files:
            raise ValueError(f"folder is {folder!r}; {faults[0] if faults else 'it holds no recording'}")

    def drawn(self, generator: torch.Generator) -> Path:
        """A random recording."""
        return self.files[whole(len(self.files) - 1, generator)]

    def stretch(self, samples: int, generator: torch.Generator) -> Tensor:
        """An excerpt from anywhere in a random recording, repeated if it is too short: [samples]."""
        path = self.drawn(generator)
        length = _length(path, self.sample_rate)
        start = whole(max(0, length - samples), generator)
        part = read_audio(path, sample_rate=self.sample_rate, part=(start, min(length, start + samples)))
        return part.repeat(-(-samples // len(part)))[:samples]

    def beginning(self, most: int, generator: torch.Generator) -> Tensor:
        """The first samples of a random recording, at most `most`: [samples]."""
        path = self.drawn(generator)
        return read_audio(path, sample_rate=self.sample_rate, part=(0, min(most, _length(path, self.sample_rate))))


@lru_cache(maxsize=65_536)
def _length(path: Path, sample_rate: int) -> int:
    return stretch(path).samples(sample_rate)
