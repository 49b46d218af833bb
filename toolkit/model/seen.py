"""Hashes of the speakers and the audio that trained a bundle's system, so that a test that shares them can say so.

A training that starts from a bundle reads them too (`training.init_from`).
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from toolkit.corpus import Utterance
from toolkit.corpus.labels import plain_name
from toolkit.errors import BundleError
from toolkit.files import parse_json, sha256
from toolkit.model.archive import SEEN


@dataclass(frozen=True)
class Seen:
    """Hashes of what trained a system or chose its epoch: speakers' names, and files with start and end."""

    speakers: frozenset[str] = frozenset()
    audio: frozenset[str] = frozenset()

    @classmethod
    def of(cls, utterances: Sequence[Utterance]) -> "Seen":
        """Hash these utterances; audio that no longer exists is left out."""
        return cls(frozenset(_speakers(utterances)), frozenset(filter(None, _audio(utterances))))

    @classmethod
    def read(cls, data: bytes) -> "Seen":
        """Read the file's content; BundleError if it is damaged."""
        try:
            return cls.from_dict(parse_json(data))
        except (ValueError, KeyError, TypeError):
            raise BundleError(f"{SEEN} does not list speakers and audio: get the bundle again.") from None

    @classmethod
    def from_dict(cls, values: Mapping[str, Iterable[str]]) -> "Seen":
        """Make it from what `as_dict` gave. Raises: KeyError, TypeError if it is anything else."""
        return cls(frozenset(map(str, values["speakers"])), frozenset(map(str, values["audio"])))

    def __or__(self, other: "Seen") -> "Seen":
        return Seen(self.speakers | other.speakers, self.audio | other.audio)

    def as_dict(self) -> dict[str, list[str]]:
        """All hashes, JSON-able: the file's content."""
        return {"speakers": sorted(self.speakers), "audio": sorted(self.audio)}

    def shared(self, tested: Sequence[Utterance]) -> tuple[int, int]:
        """Count the test's speakers, by name, and its utterances that trained the system."""
        audio = sum(name in self.audio for name in _audio(tested)) if self.audio else 0
        return len(self.speakers & _speakers(tested)), audio

    def stamps(self, tested: Sequence[Utterance]) -> tuple[str, ...]:
        """One stamp if the test shares speakers or audio with the training, else none."""
        speakers, utterances = self.shared(tested)
        shared = [f"{speakers} of {len(_speakers(tested))} speakers, by name"] if speakers else []
        shared += [f"{utterances} of {len(tested)} utterances"] if utterances else []
        return (f"trained on part of this test: {', '.join(shared)}",) if shared else ()


UNSEEN = Seen()


def _speakers(utterances: Iterable[Utterance]) -> set[str]:
    return {_hash("speaker", plain_name(u.speaker)) for u in utterances if u.speaker}


def _audio(utterances: Iterable[Utterance]) -> Iterable[str | None]:
    content = cache(_content)
    for u in utterances:
        yield (digest := content(u.path)) and _hash("audio", digest, u.start, u.end)


def _content(path: Path) -> str | None:
    try:
        return sha256(path) if os.path.isfile(path) else None
    except OSError:
        return None


def _hash(*values: object) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:12]
