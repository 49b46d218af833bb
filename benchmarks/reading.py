"""How long a training loop waits for its loader: files read for every batch, resampled, or features stored."""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import librosa
import soundfile
import torch
from measuring import ROUNDS, Result
from speech import RATE, write_corpus
from torch.utils.data import DataLoader, Dataset

from toolkit.data.batches import seed_all
from toolkit.data.cache.features import FeatureCache
from toolkit.data.front_ends import code_of_levels
from toolkit.data.segments import Batch, SegmentSet
from toolkit.model.system import build_system
from toolkit.training.loop.objective import build_objective
from toolkit.training.preparation import load_source, prepare
from toolkit.training.run_data import RunData

RECIPE = """\
corpus: {plugin: manifest, args: {path: %s}}
protocol: {name: session-out}
audio: {segment_seconds: 3}
model:
  levels:
    mfcc: {plugin: mfcc, args: {hidden: 64, layers: 1}}
    spectrogram: {plugin: spectrogram, args: {weights: random, image_size: [96, 144], pool: [2, 3]}}
  fusion: {plugin: attention, args: {dim: 64}}
  heads: {emotion: {plugin: linear, on: fused}}
  losses: {classification: {plugin: cross_entropy, on: "*"}}
training: {device: cpu, batch_size: 16, workers: %d}
"""
NOTHING, FEATURES = "nothing", "features"
CORPORA = {"16 kHz WAV": (RATE, ".wav"), "44.1 kHz FLAC": (44_100, ".flac")}
CASES = (  # files, what is stored of them, workers
    ("16 kHz WAV", NOTHING, 0),
    ("16 kHz WAV", NOTHING, 1),
    ("16 kHz WAV", NOTHING, 2),
    ("16 kHz WAV", FEATURES, 0),
    ("44.1 kHz FLAC", NOTHING, 0),
    ("44.1 kHz FLAC", NOTHING, 1),
    ("44.1 kHz FLAC", NOTHING, 2),
    ("44.1 kHz FLAC", FEATURES, 0),
)


class Plain(Dataset):
    """The opponent's data: the same segments, each read by librosa when it is asked for."""

    def __init__(self, segments: SegmentSet):
        self.segments = segments

    def __len__(self) -> int:
        return len(self.segments)

    def __getitem__(self, index: int) -> tuple[int, torch.Tensor]:
        segment = self.segments.segments[index]
        path, seconds = self.segments.utterances[segment.utterance].path, segment.samples / RATE
        return index, torch.from_numpy(librosa.load(path, sr=RATE, offset=segment.start / RATE, duration=seconds)[0])


@dataclass(frozen=True)
class Epoch:
    """The times of an epoch.

    Args:
        seconds: the whole epoch.
        waited: seconds of it spent waiting for the loader.
        decoded: seconds of audio decoded in this process.
    """

    seconds: float
    waited: float
    decoded: float


class Contestant:
    """A system that is trained on the training part of a corpus.

    Args:
        manifest: the corpus.
        kept: what the cache, which is filled here, stores of it.
        workers: number of processes that read.
        plain: whether librosa reads.
    """

    def __init__(self, manifest: Path, kept: str = NOTHING, workers: int = 0, *, plain: bool = False):
        recipe = manifest.with_name("recipe.yaml")
        recipe.write_text(RECIPE % (manifest, workers))
        preparation = prepare(load_source(recipe))
        seed_all(1, "weights")
        self.system = build_system(preparation.source.recipe, preparation.targets)
        data = RunData(preparation, fixed_samples=self.system.fixed_samples)
        self._keep(data, kept)
        self.objective = build_objective(preparation.source.recipe, self.system, data.class_counts())
        self.optimizer = torch.optim.AdamW(self.system.parameters(), lr=1e-4)
        self.batches, self.audio_s = data.training_batches(), sum(s.samples for s in data.train.segments) / RATE
        cache = self.cache if self.cache.front_ends else None
        self.loader: Iterable[Batch] = data.loader(data.train, self.batches, cache=cache)
        if plain:
            self.loader = DataLoader(Plain(data.train), batch_sampler=self.batches, collate_fn=data.train.collate)
        self.epochs = 0

    def _keep(self, data: RunData, kept: str) -> None:
        sets, code = [data.train, data.evaluation], code_of_levels(data.recipe)
        limit = {NOTHING: 0, FEATURES: 1e6}[kept]
        self.cache = FeatureCache(self.system, code, sets, limit_mb=limit, precision="fp32", device="cpu")
        self.cache.fill(sets)
        assert bool(self.cache.front_ends) == (kept == FEATURES)

    def epoch(self) -> Epoch:
        """Train for an epoch. The system computes features that are not stored, so waiting time is reading time."""
        self.epochs += 1
        self.batches.set_epoch(self.epochs)
        begin, waited = time.perf_counter(), 0.0
        with Decoded() as decoded:
            asked, batches = begin, iter(self.loader)
            while (batch := next(batches, None)) is not None:
                waited += time.perf_counter() - asked
                loss = self.objective(self.system(batch.inputs, batch.covariates), batch.targets)
                loss.backward()
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)
                asked = time.perf_counter()
        return Epoch(time.perf_counter() - begin, waited, decoded.seconds)


class Decoded:
    """Counts the seconds of audio that are decoded in a `with` block."""

    def __enter__(self) -> "Decoded":
        self.seconds, self._read = 0.0, soundfile.SoundFile.read
        soundfile.SoundFile.read = self._counting(self._read)
        return self

    def __exit__(self, *error: object) -> None:
        soundfile.SoundFile.read = self._read

    def _counting(self, read: Callable) -> Callable:
        def counting(file: soundfile.SoundFile, *args: object, **options: object) -> object:
            samples = read(file, *args, **options)
            self.seconds += len(samples) / file.samplerate
            return samples

        return counting


def row(case: tuple[str, str, int], ours: list[Epoch], theirs: list[Epoch], audio_s: float) -> dict[str, str]:
    """A row of the table."""
    files, kept, workers = case
    shares = sorted(100 * epoch.waited / epoch.seconds for epoch in ours)
    ratios = sorted(b.seconds / a.seconds for a, b in zip(ours, theirs, strict=True))
    return {
        "files": files,
        "kept": kept,
        "workers": str(workers),
        "waits, % of an epoch": f"{statistics.median(shares):.1f} ({shares[0]:.1f} to {shares[-1]:.1f})",
        "opponent waits, %": f"{statistics.median(100 * epoch.waited / epoch.seconds for epoch in theirs):.1f}",
        "epoch, s": f"{statistics.median(epoch.seconds for epoch in ours):.2f}",
        "times as fast": f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
        "times decoded in an epoch": "in workers" if workers else f"{ours[-1].decoded / audio_s:.2f}",
    }


def main() -> None:
    """Run all cases in turns."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--utterances", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    settings = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TOOLKIT_CACHE"] = f"{folder}/cache"
        manifests = {name: Path(folder) / name / "manifest.csv" for name in CORPORA}
        for name, (rate, suffix) in CORPORA.items():
            write_corpus(manifests[name].parent, settings.utterances, rate=rate, suffix=suffix)
        opponents = {name: Contestant(manifest, plain=True) for name, manifest in manifests.items()}
        contestants = {case: Contestant(manifests[case[0]], *case[1:]) for case in CASES}
        everyone = {**opponents, **contestants}
        times: dict[object, list[Epoch]] = {name: [] for name in everyone}
        for turn in range(settings.rounds + 1):
            for name, contestant in list(everyone.items())[:: 1 if turn % 2 else -1]:
                epoch = contestant.epoch()
                if turn:  # workers start in the first one
                    times[name].append(epoch)
    audio_s = {name: opponent.audio_s for name, opponent in opponents.items()}
    Result(
        "reading.py",
        f"Share of an epoch that a loop waits for its loader: {next(iter(audio_s.values())):.0f} s of audio in batches "
        f"of 16 segments of <= 3 s, trained on the CPU with {torch.get_num_threads()} threads.",
        "Opponent: the same loop over a Dataset that reads each segment with librosa.load, without workers, in "
        "benchmarks/reading.py.",
        [row(case, times[case], times[case[0]], audio_s[case[0]]) for case in CASES],
        ["Here workers take cores from the model."],
    ).report()


if __name__ == "__main__":
    main()
