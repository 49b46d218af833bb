"""Log-spectrogram and MFCC of a corpus: this toolkit's, as the feature cache computes them, and librosa's."""

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import torch
from measuring import ROUNDS, Result, alternate
from speech import RATE, write_corpus

from toolkit.ahead import ahead
from toolkit.audio import read_audio
from toolkit.cache import FeatureCache
from toolkit.contracts import Seq
from toolkit.front_ends import code_of_levels
from toolkit.model import build_system
from toolkit.preparation import load_source, prepare
from toolkit.run_data import RunData
from toolkit_plugins.extractors import frontends

RECIPE = """\
corpus: {plugin: manifest, args: {path: %s}}
protocol: {name: session-out}
audio: {segment_seconds: 40}
model:
  levels: {mfcc: {plugin: mfcc, args: {hidden: 1, layers: 1}}}
  fusion: {plugin: concat}
  heads: {emotion: {plugin: linear}}
  losses: {classification: {plugin: cross_entropy, on: "*"}}
training: {device: cpu}
"""


def librosa_log_spectrogram(wave: np.ndarray) -> np.ndarray:
    """[frames, 200], dB below the maximum."""
    stft = librosa.stft(_emphasised(wave), n_fft=800, win_length=640, hop_length=160, window="hamming")
    return librosa.amplitude_to_db(np.abs(stft), ref=np.max)[:200].T


def librosa_mfcc(wave: np.ndarray) -> np.ndarray:
    """[frames, 40]."""
    y = _emphasised(wave)
    return librosa.feature.mfcc(y=y, sr=RATE, n_mfcc=40, n_fft=2048, hop_length=160, n_mels=128, htk=True).T


def _emphasised(wave: np.ndarray) -> np.ndarray:
    return np.concatenate([wave[:1], wave[1:] - np.float32(0.97) * wave[:-1]])


THEIRS = {"log-spectrogram": [librosa_log_spectrogram], "MFCC": [librosa_mfcc]}
OURS: dict[str, list[Callable[[Seq], Seq]]] = {
    "log-spectrogram": [frontends.log_spectrogram],
    "MFCC": [lambda wave: frontends.mfcc(wave, sample_rate=RATE)],
}
for functions in (THEIRS, OURS):
    functions["both"] = [*functions["log-spectrogram"], *functions["MFCC"]]


def theirs(paths: list[Path], functions: list[Callable]) -> list[list[np.ndarray]]:
    """What one librosa process does: one file after another."""
    return [[function(wave) for function in functions] for wave in (librosa.load(path, sr=RATE)[0] for path in paths)]


def ours(paths: list[Path], functions: list[Callable]) -> list[list[np.ndarray]]:
    """What the feature cache does but for the disk: utterances in threads, one on each core."""

    def of(path: Path) -> list[np.ndarray]:
        wave = read_audio(path, sample_rate=RATE)
        seq = Seq(wave[None], torch.tensor([len(wave)]))
        with torch.no_grad():
            return [function(seq).values[0].numpy() for function in functions]

    return list(ahead(of, paths, threads=torch.get_num_threads()))


def largest_difference(paths: list[Path]) -> float:
    """Between the two, over all utterances, frames and channels."""
    pairs = zip(ours(paths, OURS["both"]), theirs(paths, THEIRS["both"]), strict=True)
    return max(float(np.abs(a - b[: len(a)]).max()) for one, other in pairs for a, b in zip(one, other, strict=True))


def stored_by_us(recipe: Path) -> None:
    """MFCC of the corpus into a feature cache of its own."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TOOLKIT_CACHE"] = folder
        preparation = prepare(load_source(recipe))
        system = build_system(preparation.source.recipe, preparation.classes)
        data = RunData(preparation, fixed_samples=None)
        sets, code = [data.train, data.evaluation], code_of_levels(preparation.source.recipe)
        FeatureCache(system, code, sets, limit_mb=1e6, precision="fp32", device="cpu").give(sets)


def stored_by_them(paths: list[Path]) -> None:
    """librosa's MFCC of the corpus, a file for each utterance."""
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            np.save(Path(folder) / path.stem, librosa_mfcc(librosa.load(path, sr=RATE)[0]))


def main() -> None:
    """Compare on a generated corpus."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--utterances", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    settings = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = write_corpus(Path(folder), settings.utterances)
        recipe = Path(folder) / "mfcc.yaml"
        recipe.write_text(RECIPE % (Path(folder) / "manifest.csv"))
        rows = [
            alternate(
                lambda what=what: ours(paths, OURS[what]),
                lambda what=what: theirs(paths, THEIRS[what]),
                rounds=settings.rounds,
            ).row(f"{what}, files read, results in memory")
            for what in OURS
        ]
        stored = alternate(lambda: stored_by_us(recipe), lambda: stored_by_them(paths), rounds=settings.rounds)
        rows.append(stored.row("MFCC, files read, results on disk (ours: hashed, flushed, with checksums)"))
        difference = largest_difference(paths)
    Result(
        "front_ends.py",
        f"Front ends of {settings.utterances} utterances with IEMOCAP's lengths, {torch.get_num_threads()} threads.",
        "Opponent: one librosa process, in benchmarks/front_ends.py.",
        rows,
        [f"Largest difference between the two over all values: {difference:.1e} (dB, or of a coefficient)."],
    ).report()


if __name__ == "__main__":
    main()
