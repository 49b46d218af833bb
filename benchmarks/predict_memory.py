"""Peak memory of `toolkit predict`: 10 files, 1000 files of mixed formats with 20 broken ones, one file of an hour.

Also checks that the broken files are named. Takes the path of a bundle, or trains a small one.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from measuring import Result
from speech import write_corpus

RECIPE = """\
corpus: {plugin: manifest, args: {path: %s}}
protocol: {name: session-out}
model:
  levels: {mfcc: {plugin: mfcc, args: {hidden: 32, layers: 1}}}
  fusion: {plugin: attention, args: {dim: 32}}
  heads: {emotion: {plugin: linear}}
  losses: {classification: {plugin: cross_entropy, on: "*"}}
training: {epochs: 1, device: cpu}
"""
TOOLKIT = [sys.executable, "-m", "toolkit"]
KINDS = [("wav", 16_000, 1), ("flac", 44_100, 2), ("ogg", 22_050, 1), ("mp3", 48_000, 2), ("wav", 8_000, 2)]
BROKEN = 20
LONG_S = 3600


def write_files(folder: Path, count: int, broken: int = 0) -> list[Path]:
    """Write noise of 0.5 to 8 s in the formats in turn; broken files are spread over the folder. Returns these."""
    folder.mkdir()
    rng, damaged = np.random.default_rng(0), []
    for number in range(count):
        ending, rate, channels = KINDS[number % len(KINDS)]
        path = folder / f"{number:04}.{ending}"
        seconds = 0.5 + 7.5 * (number * 37 % 100) / 100
        soundfile.write(path, 0.2 * rng.uniform(-1, 1, (int(seconds * rate), channels)), rate)
        turn, place = divmod(number, count // broken) if broken else (0, -1)
        if place == turn % len(KINDS):  # a file of each format in turn
            whole = path.read_bytes()
            # An Ogg stream promises no length: half a stream is a shorter stream.
            path.write_bytes(b"no audio" if ending == "ogg" else whole[: len(whole) // 2])
            damaged.append(path)
    return damaged


def write_long(path: Path) -> None:
    """Write an hour of noise in stereo at 44.1 kHz, a second at a time."""
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", 44_100, 2) as file:
        for _ in range(LONG_S):
            file.write(0.2 * rng.uniform(-1, 1, (44_100, 2)))


def measure(bundle: str, source: Path) -> tuple[float, int, list[str]]:
    """Peak resident memory in MB, number of rows, and lines about skipped files."""
    with tempfile.TemporaryFile("w+") as rows, tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [*TOOLKIT, "predict", bundle, str(source), "--format", "csv", "--device", "cpu"], stdout=rows, stderr=said
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        skipped = [line for line in said if line.startswith("skipped: ")]
        if process.returncode != bool(skipped):
            said.seek(0)
            sys.exit(said.read())
        rows.seek(0)
        return usage.ru_maxrss * 1024 / 1e6, sum(1 for _ in rows) - 1, skipped


def small_bundle(folder: Path) -> str:
    """Train a small system for an epoch; returns its bundle."""
    write_corpus(folder / "corpus", 40)
    recipe = folder / "small.yaml"
    recipe.write_text(RECIPE % (folder / "corpus" / "manifest.csv"))
    train = [*TOOLKIT, "train", str(recipe), "--output_folder", str(folder / "runs")]
    results = subprocess.run(train, check=True, capture_output=True, text=True).stdout.split()[-1]
    subprocess.run([*TOOLKIT, "export", results, str(folder / "bundle")], check=True, capture_output=True)
    return str(folder / "bundle")


def main() -> None:
    """Measure the peaks and their ratios to that of 10 files."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        bundle = sys.argv[1] if len(sys.argv) > 1 else small_bundle(folder)
        write_files(folder / "10", 10)
        damaged = write_files(folder / "1000", 1000, BROKEN)
        write_long(folder / "long.flac")
        sources = {"10 files": "10", "1000 files, 20 of them broken": "1000", "an hour in one file": "long.flac"}
        rows, notes, yardstick = [], [], 0.0
        for what, name in sources.items():
            peak, labelled, skipped = measure(bundle, folder / name)
            yardstick = yardstick or peak
            row = {"source": what, "peak, MB": f"{peak:.0f}", "ratio to 10 files": f"{peak / yardstick:.3f}"}
            rows.append(row | {"labelled": str(labelled), "named": str(len(skipped))})
            if name == "1000":
                named = len(skipped) == BROKEN and all(str(p) in line for p, line in zip(damaged, skipped, strict=True))
                notes.append("Every broken file is named." if named else "NOT all broken files are named.")
    Result(
        "predict_memory.py",
        "Peak resident memory of `toolkit predict` on wav, flac, ogg and mp3 files in turn.",
        "Opponent: none; the ratio to ten files shows what grows. The code is in benchmarks/predict_memory.py.",
        rows,
        notes,
    ).report()


if __name__ == "__main__":
    main()
