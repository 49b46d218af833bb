"""A generated corpus with IEMOCAP's lengths to measure on: voices without words."""

import math
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000
MEAN_S, MEDIAN_S, LONGEST_S = 4.55, 3.58, 34.1  # IEMOCAP's utterances of four classes


def durations(count: int, *, seed: int = 0) -> np.ndarray:
    """Lengths of some utterances in seconds: log-normal with IEMOCAP's mean and median, at most its longest."""
    deviation = math.sqrt(2 * math.log(MEAN_S / MEDIAN_S))
    drawn = np.random.default_rng(seed).lognormal(math.log(MEDIAN_S), deviation, count)
    return drawn.clip(0.5, LONGEST_S)


def voice(samples: int, *, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """Harmonics of a gliding pitch, fading in and out over noise: [samples], float32."""
    random = np.random.default_rng(seed)
    t = np.arange(samples) / rate
    phase = 2 * np.pi * np.cumsum(random.uniform(90, 220) + 30 * np.sin(2 * np.pi * random.uniform(0.5, 2) * t)) / rate
    tone = sum(np.sin(k * phase) / k for k in range(1, 20))
    loudness = 0.15 * (0.6 + 0.4 * np.sin(2 * np.pi * random.uniform(1, 4) * t))
    return (tone * loudness + 1e-3 * random.standard_normal(samples)).astype(np.float32)


def write_corpus(folder: Path, count: int, *, seed: int = 0, rate: int = RATE, suffix: str = ".wav") -> list[Path]:
    """Write some files, and manifest.csv with their labels, speakers and sessions; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths, rows = [], ["path,label,speaker,gender,session"]
    for number, length in enumerate(durations(count, seed=seed)):
        path = folder / f"{number:05d}{suffix}"
        soundfile.write(path, voice(round(length * rate), seed=number, rate=rate), rate)
        speaker = number % 10
        label = ("ang", "hap", "neu", "sad")[(number + number // 10) % 4]
        row = path.name, label, f"s{speaker}", "FM"[speaker % 2], speaker // 2
        rows.append(",".join(map(str, row)))
        paths.append(path)
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return paths
