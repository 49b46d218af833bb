"""Peak memory of `toolkit predict`: 10 files, 1000 files of mixed formats with 20 broken ones, one file of an hour.

Checks on the way that 980 files are labelled and 20 are named. Takes the path of a bundle.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

COMMAND = [sys.executable, "-m", "toolkit", "predict"]
KINDS = [("wav", 16_000, 1), ("flac", 44_100, 2), ("ogg", 22_050, 1), ("mp3", 48_000, 2), ("wav", 8_000, 2)]
BROKEN = 20
LONG_S = 3600


def write_files(folder: Path, count: int, broken: int = 0) -> list[Path]:
    """Noise of 0.5 to 8 s in the formats in turn; the broken ones are spread over the folder. Returns those."""
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
            # An Ogg stream promises no length: half of one is a shorter one.
            path.write_bytes(b"no audio" if ending == "ogg" else whole[: len(whole) // 2])
            damaged.append(path)
    return damaged


def write_long(path: Path) -> None:
    """An hour of noise in stereo at 44.1 kHz, a second at a time."""
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", 44_100, 2) as file:
        for _ in range(LONG_S):
            file.write(0.2 * rng.uniform(-1, 1, (44_100, 2)))


def measure(bundle: str, source: Path) -> tuple[float, int, list[str]]:
    """Peak resident memory in MB, number of rows, and lines about what was skipped."""
    with tempfile.TemporaryFile("w+") as rows, tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [*COMMAND, bundle, str(source), "--format", "csv", "--device", "cpu"], stdout=rows, stderr=said
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        skipped = [line for line in said if line.startswith("skipped: ")]
        if process.returncode != bool(skipped):
            said.seek(0)
            sys.exit(said.read())
        rows.seek(0)
        return usage.ru_maxrss / 1024, sum(1 for _ in rows) - 1, skipped


def main() -> None:
    """Print the peaks and their ratios to that of 10 files."""
    bundle = sys.argv[1]
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        write_files(folder / "10", 10)
        damaged = write_files(folder / "1000", 1000, BROKEN)
        write_long(folder / "long.flac")
        print(f"{'source':10s} {'peak MB':>8s} {'ratio':>6s} {'labelled':>9s} {'named':>6s}")
        yardstick = 0.0
        for name in ("10", "1000", "long.flac"):
            peak, labelled, skipped = measure(bundle, folder / name)
            yardstick = yardstick or peak
            print(f"{name:10s} {peak:8.0f} {peak / yardstick:6.3f} {labelled:9d} {len(skipped):6d}")
            if name == "1000":
                named = all(str(path) in line for path, line in zip(damaged, skipped, strict=True))
                print("all broken files are named" if named and labelled == 980 else "NOT all are labelled or named")


if __name__ == "__main__":
    main()
