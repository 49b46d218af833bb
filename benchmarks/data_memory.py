"""Memory that the data of a run takes: prepared, computed, and trained on for an epoch, with small and large corpora.

Counted is the anonymous memory of the process and its workers (Pss_Anon of /proc/PID/smaps_rollup, in which shared
memory counts once) above that of the process before any data. Features are read from disk batch by batch.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
import torch
from measuring import Result
from speech import RATE, durations

from toolkit.data.cache.features import FeatureCache
from toolkit.data.front_ends import code_of_levels
from toolkit.data.segments import Batch
from toolkit.hardware import give_back
from toolkit.model.system import System, build_system
from toolkit.training.loop.objective import build_objective
from toolkit.training.preparation import load_source, prepare
from toolkit.training.run_data import RunData

UTTERANCES = (600, 2400, 5531)
LIMIT_MB = 1000
RECIPE = """\
corpus: {plugin: manifest, args: {path: %s}}
protocol: {name: session-out}
audio: {segment_seconds: 3}
model:
  levels:
    mfcc: {plugin: mfcc, args: {hidden: 1, layers: 1}}
    spectrogram: {plugin: spectrogram, args: {weights: random, image_size: [64, 96], pool: [1, 2]}}
  fusion: {plugin: concat}
  heads: {emotion: {plugin: linear}}
  losses: {classification: {plugin: cross_entropy, on: "*"}}
training: {device: cpu, batch_size: 64, workers: %d}
"""


def write_noise(folder: Path, utterances: int) -> Path:
    """Write a corpus of noise, which is drawn quickly; returns its manifest."""
    folder.mkdir()
    random, rows = np.random.default_rng(0), ["path,label,speaker,session"]
    for number, length in enumerate(durations(utterances)):
        soundfile.write(folder / f"{number}.wav", random.integers(-3000, 3000, int(length * RATE), np.int16), RATE)
        rows.append(f"{number}.wav,{'ab'[number // 10 % 2]},s{number % 10},{number % 10 // 2}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder / "manifest.csv"


def own_megabytes() -> float:
    """Anonymous memory of this process and its workers."""
    here = Path("/proc/self")
    children = [pid for file in here.glob("task/*/children") for pid in file.read_text().split()]
    return sum(map(_megabytes, [here, *(Path("/proc") / pid for pid in children)]))


def _megabytes(process: Path) -> float:
    try:
        lines = (process / "smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return 0.0
    return sum(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("Pss_Anon"))


class Peaks:
    """Measures stages.

    Attributes:
        found: stage -> peak in megabytes, above the memory at the beginning.
    """

    def __init__(self):
        self.before, self.found = own_megabytes(), {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Watch while the block runs."""
        stop, seen = threading.Event(), [own_megabytes()]

        def watch() -> None:
            while not stop.wait(0.05):
                seen.append(own_megabytes())

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        yield
        seen.append(own_megabytes())
        stop.set()
        thread.join()
        self.found[name] = max(seen) - self.before

    def held(self, name: str) -> None:
        """Measure the memory still in use, after freed memory is given back."""
        give_back()
        self.found[name] = own_megabytes() - self.before


class Training:
    """Training steps of one system.

    Args:
        system: what is trained.
        data: of a run.
        cache: of its features.
    """

    def __init__(self, system: System, data: RunData, cache: FeatureCache):
        self.system, self.data, self.cache = system, data, cache
        self.objective = build_objective(data.recipe, system, data.class_counts())
        self.optimizer = torch.optim.AdamW(system.parameters())

    def epoch(self) -> None:
        """A step with each batch."""
        seen = 0
        for batch in self.data.loader(self.data.train, self.data.training_batches(), cache=self.cache):
            self.step(batch)
            seen += len(batch.utterances)
        assert seen == len(self.data.train)

    def step(self, batch: Batch) -> None:
        """Forward, backward, and a step of the optimizer."""
        self.objective(self.system(batch.inputs, batch.covariates), batch.targets).backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def measure(recipe: Path) -> dict[str, float]:
    """In a process of its own: what data takes at each stage."""
    source = load_source(recipe)
    preparation = prepare(source)  # the corpus is read a second time below, which counts
    system = build_system(source.recipe, preparation.targets)
    del preparation
    peaks = Peaks()
    with peaks.stage("prepared"):
        data = RunData(prepare(source), fixed_samples=system.fixed_samples)
    sets = [data.train, data.evaluation]
    with peaks.stage("features computed"):
        cache = _cache(system, data, 1e6)
        assert cache.fill(sets)
    peaks.held("held afterwards")
    training = Training(system, data, cache)
    with peaks.stage("five steps with a batch"):
        batch = next(iter(data.loader(data.train, data.training_batches(), cache=cache)))
        for _ in range(5):
            training.step(batch)
    del batch
    with peaks.stage("epoch with features kept"):
        training.epoch()
    training.cache = _cache(system, data, 0)
    with peaks.stage("epoch with nothing kept"):
        training.epoch()
    return {**peaks.found, "segments": sum(map(len, sets))}


def _cache(system: System, data: RunData, limit_mb: float) -> FeatureCache:
    code = code_of_levels(data.recipe)
    sets = [data.train, data.evaluation]
    return FeatureCache(system, code, sets, limit_mb=limit_mb, precision="fp32", device="cpu")


def main() -> None:
    """Measure each corpus in a process of its own; the largest one with and without workers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--utterances", type=int, nargs="+", default=UTTERANCES)
    parser.add_argument("--workers", type=int, nargs="+", default=(0, 2))
    parser.add_argument("--recipe", type=Path, help="measure this one, in this process, and print JSON")
    settings = parser.parse_args()
    if settings.recipe:
        print(json.dumps(measure(settings.recipe)))
        return
    rows = []
    for utterances in settings.utterances:
        with tempfile.TemporaryDirectory() as folder:
            manifest = write_noise(Path(folder) / "corpus", utterances)
            for workers in settings.workers if utterances == max(settings.utterances) else settings.workers[:1]:
                found = in_process(Path(folder), RECIPE % (manifest, workers))
                what = {"utterances": utterances, "segments": found.pop("segments"), "workers": workers}
                rows.append({name: f"{value:.0f}" for name, value in {**what, **found}.items()})
    most = max(float(value) for row in rows for value in list(row.values())[3:])
    Result(
        "data_memory.py",
        "Peak anonymous memory that a run's data adds to its processes, in MB.",
        "Opponent: none; corpora of several sizes show what grows. The code is in benchmarks/data_memory.py.",
        rows,
        [
            f"The highest is {most:.0f} MB, {'below' if most < LIMIT_MB else 'ABOVE'} {LIMIT_MB} MB.",
            "'held afterwards' is the memory still in use once the features are computed.",
            "The figure of an epoch includes the memory of training steps, shown by 'five steps with a batch'.",
        ],
    ).report()


def in_process(folder: Path, recipe: str) -> dict[str, float]:
    """Measure one recipe in a process of its own, with an empty cache."""
    path = folder / "memory.yaml"
    path.write_text(recipe)
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        command = [sys.executable, __file__, "--recipe", path]
        done = subprocess.run(
            command, env=os.environ | {"TOOLKIT_CACHE": cache}, stdout=subprocess.PIPE, text=True, check=True
        )
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
