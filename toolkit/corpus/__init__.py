"""Utterances, their labels, manifests and folds: what corpus plugins import."""

from toolkit.corpus.base import Corpus
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
