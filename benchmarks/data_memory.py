"""Memory that the data of a run takes: prepared, computed, and read for an epoch, with a small corpus and a large one.

Counted is what belongs to the process alone (RssAnon of /proc/self/status), above what it had before any data. Features
are mapped from disk: their pages are the system's, which takes them back when it needs memory.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import soundfile
from measuring import Result
from speech import RATE, durations

SMALL, LARGE = 300, 5531  # utterances
LIMIT_MB = 1000
RECIPE = """\
corpus: {plugin: manifest, args: {path: %s}}
protocol: {name: session-out}
audio: {segment_seconds: 3}
model:
  levels:
    mfcc: {plugin: mfcc, args: {hidden: 1, layers: 1}}
    spectrogram: {plugin: spectrogram, args: {weights: random}}
  fusion: {plugin: concat}
  heads: {emotion: {plugin: linear}}
  losses: {classification: {plugin: cross_entropy, on: "*"}}
training: {device: cpu, batch_size: 64, workers: %d}
"""


def write_noise(folder: Path, utterances: int) -> Path:
    """A corpus whose sound is drawn quickly; returns its manifest."""
    folder.mkdir()
    random, rows = np.random.default_rng(0), ["path,label,speaker,session"]
    for number, length in enumerate(durations(utterances)):
        soundfile.write(folder / f"{number}.wav", random.integers(-3000, 3000, int(length * RATE), np.int16), RATE)
        rows.append(f"{number}.wav,{'ab'[number // 10 % 2]},s{number % 10},{number % 10 // 2}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder / "manifest.csv"


def own_megabytes() -> float:
    """RssAnon of this process."""
    (line,) = [s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("RssAnon")]
    return int(line.split()[1]) / 1e3


class Peak(threading.Thread):
    """Watches own_megabytes() while it is entered."""

    def __init__(self):
        super().__init__(daemon=True)
        self.stop, self.megabytes = threading.Event(), 0.0

    def run(self):
        """Look again and again."""
        while not self.stop.wait(0.02):
            self.megabytes = max(self.megabytes, own_megabytes())

    def __enter__(self) -> "Peak":
        self.start()
        return self

    def __exit__(self, *error: object):
        self.stop.set()
        self.join()
        self.megabytes = max(self.megabytes, own_megabytes())


def measure(recipe: Path) -> dict[str, float]:
    """In a process of its own: what data takes at each stage."""
    from toolkit.cache import FeatureCache
    from toolkit.front_ends import code_of_levels
    from toolkit.model import build_system
    from toolkit.preparation import load_source, prepare
    from toolkit.run_data import RunData

    source = load_source(recipe)
    preparation = prepare(source)  # the corpus is read a second time below, which counts
    system = build_system(source.recipe, preparation.classes)
    fixed, code = system.fixed_samples, code_of_levels(source.recipe)
    del preparation
    before, found = own_megabytes(), {}
    with Peak() as peak:
        data = RunData(prepare(source), fixed_samples=fixed)
        sets = [data.train, data.evaluation]
    found["prepared"] = peak.megabytes - before
    with Peak() as peak:
        given = FeatureCache(system, code, sets, limit_mb=1e6, precision="fp32", device="cpu").give(sets)
    assert given
    found["features computed"] = peak.megabytes - before
    with Peak() as peak:
        seen = sum(len(batch.utterances) for batch in data.loader(data.train, data.training_batches()))
    found["an epoch read"] = peak.megabytes - before
    assert seen == len(data.train)
    return {**found, "segments": sum(map(len, sets))}


def main() -> None:
    """Measure both corpora, each in a process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--utterances", type=int, default=LARGE)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--recipe", type=Path, help="measure this one, in this process, and print JSON")
    settings = parser.parse_args()
    if settings.recipe:
        print(json.dumps(measure(settings.recipe)))
        return
    rows = []
    for utterances in (SMALL, settings.utterances):
        with tempfile.TemporaryDirectory() as folder:
            recipe = Path(folder) / "memory.yaml"
            recipe.write_text(RECIPE % (write_noise(Path(folder) / "corpus", utterances), settings.workers))
            command = [sys.executable, __file__, "--recipe", recipe]
            environment = os.environ | {"TOOLKIT_CACHE": f"{folder}/cache"}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            rows.append(
                {"utterances": str(utterances), "segments": str(found.pop("segments"))}
                | {f"{stage}, MB": f"{megabytes:.0f}" for stage, megabytes in found.items()}
            )
    most = max(float(value) for name, value in rows[-1].items() if name.endswith("MB"))
    Result(
        "data_memory.py",
        "Memory of a run's data that is the process's own, at its highest, above what the process had before.",
        "Opponent: none; the small corpus beside the large one tells what grows. The code is in "
        "benchmarks/data_memory.py.",
        rows,
        [f"The most is {most:.0f} MB, {'below' if most < LIMIT_MB else 'ABOVE'} {LIMIT_MB} MB."],
    ).report()


if __name__ == "__main__":
    main()
