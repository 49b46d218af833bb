"""Utterances, their labels, manifests and folds: what corpus plugins import."""

import os
from pathlib import Path

from toolkit.corpus.labels import apply_labels
from toolkit.corpus.manifests import file_and_times, read_manifest, read_rows, write_manifest
from toolkit.corpus.utterance import Utterance, natural_key, speaker_order

__all__ = [
    "Corpus",
    "Utterance",
    "apply_labels",
    "file_and_times",
    "natural_key",
    "read_manifest",
    "read_rows",
    "speaker_order",
    "write_manifest",
]


class Corpus:
    """A kind of corpus on disk; plugins of kind "corpus" subclass it, and must not import torch.

    The constructor takes the recipe's `args` by keyword.

    Attributes:
        environment: the environment variable that names the folder where no data folder is given, or None.
        synthetic: True where the audio is generated; every result carries a note then.
        description: what is recorded, in a sentence or two: language, speakers, acted or not; None if not known.
        licence: what the data may be used for, in a sentence or two; None if not known. Model cards quote both.
        sizes: how many utterances the whole corpus has, in each of its versions; another number is warned of.
        protocols: those that take the folds it is published with, where no other split may be used; () for any.
    """

    environment: str | None = None
    synthetic: bool = False
    description: str | None = None
    licence: str | None = None
    sizes: tuple[int, ...] = ()
    protocols: tuple[str, ...] = ()

    @classmethod
    def default_folder(cls) -> Path | None:
        """The folder named by the environment variable, or None."""
        named = os.environ.get(cls.environment, "") if cls.environment else ""
        return Path(named) if named else None

    def read(self, folder: Path | None) -> list[Utterance]:
        """List the utterances with the labels of the corpus itself, without opening the audio.

        Args: folder: the data folder, or None where none was given.
        Raises: CorpusError if it is not this corpus; one line with what was found and what was expected.
        """
        raise NotImplementedError
