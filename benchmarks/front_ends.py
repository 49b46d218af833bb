"""Log-spectrogram and MFCC of a corpus: by the toolkit's feature cache, and by one librosa process."""

import argparse
import os
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import torch
from measuring import ROUNDS, Result, alternate
from speech import RATE, write_corpus

from toolkit.audio.waves import read_audio
from toolkit.contracts import Extractor, Fusion, Seq
from toolkit.data.cache.features import FeatureCache
from toolkit.data.front_ends import code_of_levels
from toolkit.model.system import System
from toolkit.training.preparation import Preparation, load_source, prepare
from toolkit.training.run_data import RunData
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


class FrontEnd(Extractor):
    """A front end without anything that learns.

    Args:
        name: in the cache.
        compute: [batch, samples] -> [batch, frames, channels].
    """

    channels = 1  # not used here

    def __init__(self, name: str, compute: Callable[[Seq], Seq]):
        super().__init__()
        self.front_end_args: dict[str, Any] = {"front_end": name}
        self.features = compute


LOG_SPECTROGRAM, MFCC = "log-spectrogram", "MFCC"
THEIRS = {LOG_SPECTROGRAM: librosa_log_spectrogram, MFCC: librosa_mfcc}
OURS = {
    LOG_SPECTROGRAM: FrontEnd(LOG_SPECTROGRAM, frontends.log_spectrogram),
    MFCC: FrontEnd(MFCC, lambda wave: frontends.mfcc(wave, sample_rate=RATE)),
}
CONTESTS = {"log-spectrogram": [LOG_SPECTROGRAM], "MFCC": [MFCC], "both": [LOG_SPECTROGRAM, MFCC]}


def theirs(paths: list[Path], names: list[str]) -> None:
    """One librosa process: one file after another, an array on disk for each front end."""
    folder = Path(tempfile.mkdtemp(dir=paths[0].parent))  # deleted only at the end: inodes just freed are slow
    for path in paths:
        wave = librosa.load(path, sr=RATE)[0]
        for name in names:
            np.save(folder / f"{path.stem}-{name}", THEIRS[name](wave))


def ours(preparation: Preparation, names: list[str]) -> None:
    """A run before its first epoch: it reads headers, hashes files, and writes features into an empty cache."""
    os.environ["TOOLKIT_CACHE"] = tempfile.mkdtemp(dir=preparation.utterances[0].path.parent)
    levels = {name: OURS[name] for name in names}
    (own,) = code_of_levels(preparation.source.recipe).values()
    data = RunData(preparation, fixed_samples=None)
    sets = [data.train, data.evaluation]
    system = System(levels, Fusion(), {}, classes={}, head_inputs={}, given_covariates={}, predicted_covariates={})
    code = dict.fromkeys(levels, own)
    with closing(FeatureCache(system, code, sets, limit_mb=1e6, precision="fp32", device="cpu")) as cache:
        assert cache.fill(sets)


def largest_difference(paths: list[Path], name: str) -> float:
    """The largest difference between the two over all utterances, frames and channels."""
    worst = 0.0
    for path in paths:
        wave = read_audio(path, sample_rate=RATE)
        found = OURS[name].features(Seq(wave[None], torch.tensor([len(wave)]), full=True)).values[0].numpy()
        worst = max(worst, float(np.abs(found - THEIRS[name](wave.numpy())[: len(found)]).max()))
    return worst


def main() -> None:
    """Compare on a generated corpus."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--utterances", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    settings = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = write_corpus(Path(folder), settings.utterances)
        recipe = Path(folder) / "mfcc.yaml"
        recipe.write_text(RECIPE % (Path(folder) / "manifest.csv"))
        preparation = prepare(load_source(recipe))
        rows = [
            alternate(
                lambda names=names: ours(preparation, names),
                lambda names=names: theirs(paths, names),
                rounds=settings.rounds,
            ).row(what)
            for what, names in CONTESTS.items()
        ]
        differences = {name: largest_difference(paths[:200], name) for name in THEIRS}
    Result(
        "front_ends.py",
        f"Front ends of {settings.utterances} utterances with IEMOCAP's lengths, from audio files to feature files, "
        f"{torch.get_num_threads()} cores.",
        "Opponent: one librosa process, in benchmarks/front_ends.py.",
        rows,
        [
            "Ours is what a run does before its first epoch, with hashes of the files and checksums of the features.",
            "Largest difference between the two over all values of 200 utterances: "
            + ", ".join(f"{name} {worst:.1e}" for name, worst in differences.items())
            + " (in dB, or in a coefficient).",
        ],
    ).report()


if __name__ == "__main__":
    main()
