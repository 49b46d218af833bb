"""The synthetic corpus: made once in the user's cache folder, read as IEMOCAP is."""

import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from toolkit.corpus import Corpus, Utterance
from toolkit.errors import CorpusError, RecipeError
from toolkit_plugins.corpora.iemocap import Iemocap

CACHE_NAME = "audio-classification-toolkit"
MAKERS = ("synthetic_speech.py", "synthetic_release.py")


class Synthetic(Corpus):
    """A release in IEMOCAP's shape that a program makes: for trials on machines without a corpus.

    Ten speakers in five sessions, the four classes and some labels to leave out. What it says about systems is whether
    they run, not how good they are. The data folder, where one is given, is where it is made; else the user's cache.

    Args:
        utterances_per_speaker: of the four classes together, at least 4.
        seed: of all random numbers; the same seed makes the same audio.
        min_seconds: the shortest utterance.
        max_seconds: the longest utterance.
    """

    synthetic = True
    description = "Sounds that a program makes; no one speaks in them."
    licence = "Made by a program of this toolkit (Apache-2.0): no one's recordings."

    def __init__(
        self,
        *,
        utterances_per_speaker: int = 48,
        seed: int = 1,
        min_seconds: float = 1.0,
        max_seconds: float = 4.0,
    ):
        if not 4 <= utterances_per_speaker <= 5000:
            raise RecipeError(f"utterances_per_speaker is {utterances_per_speaker}; 4 to 5000 can be made")
        if not 0 <= seed < 2**63:
            raise RecipeError(f"seed is {seed}; it may not be negative")
        if not 0.2 <= min_seconds <= max_seconds <= 60:
            raise RecipeError(f"min_seconds {min_seconds} and max_seconds {max_seconds} have to be 0.2 to 60, in order")
        self.args = {
            "utterances_per_speaker": int(utterances_per_speaker),
            "seed": int(seed),
            "min_seconds": float(min_seconds),
            "max_seconds": float(max_seconds),
        }

    def read(self, folder: Path | None = None) -> list[Utterance]:
        """Make it unless it is there, and read it with the code that reads IEMOCAP."""
        return Iemocap().read(self.prepare(folder))

    def prepare(self, folder: Path | None = None) -> Path:
        """Return the folder that holds the release, made first where it is not there.

        It appears whole or not at all: it is written beside its place, synced and then renamed. Processes that come at
        the same time wait for the first one; what a killed one left behind is removed by the next.

        Raises:
            CorpusError: if it cannot be written.
        """
        place = (cache_folder() if folder is None else Path(folder).expanduser().absolute()) / self.name()
        if place.is_dir():
            return place
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with _alone(place) as alone:
                if not place.is_dir():
                    self._make(place, clean=alone)
        except OSError as error:
            raise CorpusError(
                f"The synthetic corpus cannot be written to {place}: {error.strerror or error}; set XDG_CACHE_HOME or"
                " --data_folder to a folder that can be written"
            ) from None
        return place

    def name(self) -> str:
        """Return the folder's name: it holds a hash of the arguments and of the code that makes the corpus."""
        digest = hashlib.sha256(json.dumps(self.args, sort_keys=True).encode())
        for file in MAKERS:
            digest.update(Path(__file__).with_name(file).read_bytes())
        return f"synthetic-{digest.hexdigest()[:12]}"

    def _make(self, place: Path, *, clean: bool) -> None:
        from toolkit_plugins.corpora.synthetic_release import sync_folder, write_release

        if clean:
            for left in place.parent.glob(f".{place.name}.partial-*"):
                shutil.rmtree(left, ignore_errors=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{place.name}.partial-", dir=place.parent))
        try:
            with _progress(place) as step:
                for total in write_release(partial, **self.args):
                    step(total)
            partial.chmod(0o755)
            try:
                partial.rename(place)
            except OSError:
                if not place.is_dir():
                    raise
                # Another process was faster, where folders cannot be locked.
            sync_folder(place.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def cache_folder() -> Path:
    """Return $XDG_CACHE_HOME/audio-classification-toolkit, by default in ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / CACHE_NAME


@contextlib.contextmanager
def _alone(place: Path) -> Iterator[bool]:
    """Hold the lock of a place; yields whether locks work here. A killed process loses its lock."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield False
        return
    with place.with_name(f".{place.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # some network file systems
            yield False
            return
        yield True


@contextlib.contextmanager
def _progress(place: Path):
    """A bar on standard error; one line where that is no terminal."""
    from rich.console import Console
    from rich.progress import Progress

    text = "making the synthetic corpus"
    if not sys.stderr.isatty():
        print(f"{text} in {place}", file=sys.stderr)
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task(text, total=None)
        yield lambda total: progress.update(bar, advance=1, total=total)
