"""Corpora that break the contract, each in one way, beside a good one; for the tests of toolkit.testing."""

from toolkit.corpus import Corpus, Utterance
from toolkit.errors import CorpusError


class GoodCorpus(Corpus):
    """Two utterances.

    Args:
        label: of both.
    """

    def __init__(self, *, label: str = "ang"):
        self.label = label

    def read(self, folder):
        if not folder.is_dir():
            raise CorpusError(f"{folder} is not a folder")
        return [Utterance(id=name, path=folder / f"{name}.wav", label=self.label) for name in ("a", "b")]


class PositionalCorpus(GoodCorpus):
    def __init__(self, label: str = "ang"):
        super().__init__(label=label)


class SyntheticPerhaps(GoodCorpus):
    synthetic = None


class NoLicence(GoodCorpus):
    licence = ""


class Lazy(GoodCorpus):
    def read(self, folder):
        return iter(super().read(folder))


class SameIdTwice(GoodCorpus):
    def read(self, folder):
        return super().read(folder) * 2


class OtherOrder(GoodCorpus):
    flip = False

    def read(self, folder):
        OtherOrder.flip = not OtherOrder.flip
        return super().read(folder)[:: -1 if OtherOrder.flip else 1]


class RaisesKeyError(GoodCorpus):
    def read(self, folder):
        return super().read(folder) if folder.is_dir() else {}[folder]


class SaysNothing(GoodCorpus):
    def read(self, folder):
        return [Utterance(id="a", path=folder / "a.wav", label="ang")]


CORPORA = {
    "arguments_are_documented": [PositionalCorpus],
    "attributes_are_as_declared": [SyntheticPerhaps, NoLicence],
    "read_lists_utterances": [Lazy, SameIdTwice],
    "reads_are_equal": [OtherOrder],
    "missing_folder_is_one_line": [RaisesKeyError, SaysNothing],
}
