"""Hashes of the speakers and the audio that trained a bundle's system, so that a test that shares them can say so."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolkit.corpus import Utterance
from toolkit.corpus.utterance import plain_name
from toolkit.files import parse_json, sha256
from toolkit.model.archive import SEEN, read_file


@dataclass(frozen=True)
class Seen:
    """Hashes of what trained a system or chose its epoch, sorted: speakers' names, and files with start and end."""

    speakers: Sequence[str] = ()
    audio: Sequence[str] = ()

    @classmethod
    def of(cls, utterances: Sequence[Utterance]) -> "Seen":
        """Hash these utterances; audio that no longer exists is left out."""
        return cls(sorted(_speakers(utterances)), sorted({*_audio(utterances)} - {None}))

    @classmethod
    def read(cls, bundle: Path, hashes: Mapping[str, str]) -> "Seen":
        """Read it from a bundle with these SHA-256 of its files, if it has the file."""
        return cls(**parse_json(read_file(bundle, SEEN, sha256=hashes[SEEN]))) if SEEN in hashes else UNSEEN

    def __or__(self, other: "Seen") -> "Seen":
        return Seen(sorted({*self.speakers, *other.speakers}), sorted({*self.audio, *other.audio}))

    def shared(self, tested: Sequence[Utterance]) -> tuple[int, int]:
        """Count the test's speakers, by name, and its utterances that trained the system."""
        speakers, known = _speakers(tested).intersection(self.speakers), set(self.audio)
        return len(speakers), sum(name in known for name in _audio(tested)) if known else 0

    def stamps(self, tested: Sequence[Utterance]) -> tuple[str, ...]:
        """One stamp if the test shares speakers or audio with the training, else none."""
        speakers, utterances = self.shared(tested)
        shared = [f"{speakers} of {len(_speakers(tested))} speakers, by name"] if speakers else []
        shared += [f"{utterances} of {len(tested)} utterances"] if utterances else []
        return (f"trained on part of this test: {', '.join(shared)}",) if shared else ()


UNSEEN = Seen()


def _speakers(utterances: Iterable[Utterance]) -> set[str]:
    return {_hash("speaker", plain_name(u.speaker)) for u in utterances if u.speaker}


def _audio(utterances: Iterable[Utterance]) -> list[str | None]:
    """A hash of what each utterance sounds like; None if its file cannot be read."""
    digests = {path: sha256(path) for path in {u.path for u in utterances} if os.access(path, os.R_OK)}
    return [_hash("audio", digests[u.path], u.start, u.end) if u.path in digests else None for u in utterances]


def _hash(*values: object) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:12]
