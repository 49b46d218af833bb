"""A recipe and a corpus small enough to train for real in a second, for the tests of training."""

from pathlib import Path

import numpy as np
import soundfile

RECIPE = """\
corpus: {plugin: manifest, args: {path: %(manifest)s}}
protocol: {name: session-out}
audio: {segment_seconds: 0.3}
output_folder: %(output)s
model:
  levels:
    mfcc: {plugin: mfcc, args: {n_mfcc: 13, n_fft: 512, n_mels: 20, hidden: 4, layers: 1, normalize: standardize}}
  fusion: {plugin: attention, args: {dim: 8, hidden: 8, dropout: 0.1}}
  heads:
    emotion: {plugin: mlp, on: fused, args: {hidden: [8]}}
    level: {plugin: linear, on: mfcc}
  losses:
    classification: {plugin: cross_entropy, on: "*"}
    center: {plugin: center, on: fused, weight: 0.1}
predict_from: emotion
training:
  epochs: 3
  batch_size: 4
  device: cpu
  checkpoint_minutes: 0
  optimizer: {learning_rate: 0.01}
"""

PROBED = """\
extends: small.yaml
model:
  levels:
    mfcc: null
    whisper:
      plugin: whisper
      args:
        source: random
        tune: all
        config: {d_model: 8, encoder_layers: 2, encoder_attention_heads: 2, encoder_ffn_dim: 8}
  fusion: {plugin: concat, args: {pooling: statistics, standardize: true, dim: 8}}
  heads: {level: {on: whisper}}
training: {probe: {epochs: 2, learning_rate: 0.02}}
"""


def write_corpus(folder: Path, *, sessions: int = 3, utterances: int = 4) -> Path:
    """Tones (high) and noise (low) of two speakers a session; returns the manifest's path."""
    rng, rows = np.random.default_rng(0), ["path,label,speaker,gender,session"]
    folder.mkdir(parents=True, exist_ok=True)
    for session in range(1, sessions + 1):
        for gender in "FM":
            for number in range(utterances):
                label = ("tone", "noise")[number % 2]
                time = np.arange(6400 if number == 3 else 4000) / 16000
                pitch = (300 if gender == "F" else 150) + 5 * session + number
                tone = np.sin(2 * np.pi * pitch * time)
                wave = 0.3 * (tone if label == "tone" else rng.standard_normal(len(time)))
                name = f"{session}{gender}{number}.wav"
                soundfile.write(folder / name, np.clip(wave, -1, 1), 16000)
                rows.append(f"{name},{label},{session}{gender},{gender},S{session}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder / "manifest.csv"


def write_recipe(folder: Path, *, sessions: int = 3) -> Path:
    """A recipe for such a corpus, with both under `folder`; results go to folder/results."""
    manifest = write_corpus(folder / "corpus", sessions=sessions)
    recipe = folder / "small.yaml"
    recipe.write_text(RECIPE % {"manifest": manifest, "output": folder / "results"})
    return recipe
