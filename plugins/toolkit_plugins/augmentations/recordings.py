"""Recordings in a folder, such as noise and impulse responses."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from toolkit.audio.reading import AUDIO_SUFFIXES, files_below, stretch
from toolkit.audio.waves import read_audio
from toolkit.errors import AudioError
from toolkit_plugins.augmentations.draws import whole


class Recordings:
    """The recordings below a folder, sorted by path and read at `sample_rate`; what is hidden is left out.

    Raises: ValueError if the folder is missing, holds no recording, a folder in it cannot be listed, or a file is
        missing, empty, truncated or not audio; samples are not decoded until they are drawn.
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
        try:
            with ThreadPoolExecutor(min(8, 2 * (os.cpu_count() or 1))) as pool:  # files may be on a network
                self.lengths = list(pool.map(lambda path: stretch(path).samples(sample_rate), self.files))
        except AudioError as error:
            raise ValueError(f"folder is {folder!r}; remove or replace this file: {error}") from None

    def drawn(self, generator: torch.Generator) -> tuple[Path, int]:
        """A random recording and its number of samples."""
        index = whole(len(self.files) - 1, generator)
        return self.files[index], self.lengths[index]

    def excerpt(self, samples: int, generator: torch.Generator) -> Tensor:
        """An excerpt from anywhere in a random recording, repeated if it is too short: [samples]."""
        path, length = self.drawn(generator)
        start = whole(max(0, length - samples), generator)
        part = read_audio(path, sample_rate=self.sample_rate, part=(start, min(length, start + samples)))
        return part.repeat(-(-samples // len(part)))[:samples]

    def beginning(self, most: int, generator: torch.Generator) -> Tensor:
        """The first samples of a random recording, at most `most`: [samples]."""
        path, length = self.drawn(generator)
        return read_audio(path, sample_rate=self.sample_rate, part=(0, min(most, length)))
