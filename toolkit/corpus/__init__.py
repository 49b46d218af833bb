"""Utterances, their labels, manifests and folds: what corpus plugins import."""

import os
from pathlib import Path

from toolkit.corpus.manifests import read_manifest, read_rows
from toolkit.corpus.utterance import Utterance, apply_labels, natural_key, speaker_order

__all__ = ["Corpus", "Utterance", "apply_labels", "natural_key", "read_manifest", "read_rows", "speaker_order"]


class Corpus:
    """A kind of corpus on disk; plugins of kind "corpus" subclass it, and must not import torch.

    The constructor takes the recipe's `args` by keyword. Model cards quote description and licence.
    """

    environment: str | None = None  # the variable that names the folder if no data folder is given
    synthetic: bool = False  # True if the audio is generated; every result then carries a note
    description: str | None = None  # what is recorded, in a sentence or two: language, speakers, acted or not
    licence: str | None = None  # what the data may be used for, in a sentence or two
    sizes: tuple[int, ...] = ()  # how many utterances each version of the corpus has; any other number gives a warning
    protocols: tuple[str, ...] = ()  # those that use its published folds, if no other split is allowed; () for any

    @classmethod
    def default_folder(cls) -> Path | None:
        """The folder named by the environment variable, or None."""
        named = os.environ.get(cls.environment, "") if cls.environment else ""
        return Path(named) if named else None

    def read(self, folder: Path | None) -> list[Utterance]:
        """List the utterances with the labels of the corpus itself, without opening the audio.

        Args: folder: the data folder, or None if none was given.
        Raises: CorpusError if it is not this corpus; one line with what was found and what was expected.
        """
        raise NotImplementedError
