"""`toolkit predict` as a user types it, and recordings for it."""

import csv
import io
from pathlib import Path

import numpy as np
import soundfile
from click.testing import CliRunner

from toolkit.cli.main import main as cli

RATE = 16_000


def write(path: Path, seconds: float = 0.2, rate: int = RATE, channels: int = 1, seed: int = 0) -> Path:
    samples = 0.3 * np.random.default_rng(seed).uniform(-1, 1, (int(seconds * rate), channels))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate)
    return path


def run(*words, stdin: bytes | None = None):
    return CliRunner().invoke(cli, ["predict", *map(str, words)], input=stdin, catch_exceptions=False)


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))
