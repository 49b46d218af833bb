"""A training step of the full multi-level system, and of a plain composition in PyTorch: seconds and peak memory.

Ours is SystemBrain.fit with its loaders; the opponent is the plain loop of plain_composition.py over the same batches,
with its inputs in memory and everything trained. Each trains in a process of its own, in turns with the opponent. The
time is an epoch's divided by its steps; peak memory is that of the process.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from measuring import ROUNDS, Result, Timing, alternate
from plain_composition import HEADS, PlainComposition, Training, megabytes, plain_state, train_on_request
from speech import write_corpus
from torch import Tensor

from toolkit.contracts import Seq
from toolkit.corpus.protocols import stopping_rules
from toolkit.data.batches import seed_all
from toolkit.data.cache.features import FeatureCache
from toolkit.data.front_ends import code_of_levels
from toolkit.data.loaders import in_order
from toolkit.hardware import give_back, keep_freed_blocks
from toolkit.model.system import build_system
from toolkit.training.loop.brain import SystemBrain
from toolkit.training.loop.objective import build_objective
from toolkit.training.preparation import load_source, prepare
from toolkit.training.run_data import RunData
from toolkit_plugins.extractors.spectrogram import image

ROOT = Path(__file__).parents[1]
FOLDER = Path(__file__).parent
RECIPE = """\
extends: {base}
protocol: {{name: session-out}}
label_map: {{exc: null, fru: null, sur: null, fea: null, dis: null, oth: null, xxx: null}}
model:
  levels:
    spectrogram: {{args: {{weights: random}}}}
    mfcc: {{args: {{dropout: {lstm_dropout}}}}}
    wav2vec2:
      args:
        source: random
        dropout: {dropout}
        layerdrop: 0.0
        spec_augment: false
        freeze_convolutions: {frozen}
        gradient_checkpointing: {recompute}
  fusion: {{args: {{dropout: {dropout}}}}}
  heads: {{{heads}}}
training: {{device: cpu, batch_size: 4, feature_cache_mb: {cache_mb}}}
"""


@dataclass(frozen=True)
class Contestant:
    """One way to train the system.

    Args:
        what: its description in the table.
        frozen: wav2vec2's convolutions are not trained.
        cached: features were computed beforehand.
        recompute: activations of wav2vec2's layers are computed a second time instead of kept.
    """

    what: str
    frozen: bool = False
    cached: bool = False
    recompute: bool = False


CONTESTANTS = {
    "tuned": Contestant("everything trained"),
    "frozen": Contestant("convolutions frozen", frozen=True),
    "frozen-recompute": Contestant("convolutions frozen, gradient_checkpointing", frozen=True, recompute=True),
    "cached": Contestant("convolutions frozen, from the cache", frozen=True, cached=True),
    "cached-recompute": Contestant(
        "convolutions frozen, from the cache, gradient_checkpointing", frozen=True, cached=True, recompute=True
    ),
}
OPPONENT = "plain"
INPUTS, MANIFEST = "inputs.pt", "corpus/manifest.csv"


def write_recipe(path: Path, contestant: Contestant, *, dropout: bool = True) -> Path:
    """Write the recipe mtl_cr.yaml with random weights, as a contestant trains it; dropout: whether it has any."""
    fields = {
        "base": ROOT / "recipes/iemocap/hparams/mtl_cr.yaml",
        "lstm_dropout": 0.5 if dropout else 0.0,
        "dropout": 0.1 if dropout else 0.0,
        "frozen": str(contestant.frozen).lower(),
        "recompute": str(contestant.recompute).lower(),
        "heads": ", ".join(f"{name}: {{args: {{dropout: {0.1 if dropout else 0.0}}}}}" for name in HEADS),
        "cache_mb": 20000 if contestant.cached else 0,
    }
    path.write_text(RECIPE.format(**fields))
    return path


class KeptBrain(SystemBrain):
    """A SystemBrain that keeps its optimizer from one fit to the next, and the losses of the last fit."""

    def on_fit_start(self):
        """Begin the training only the first time."""
        self.losses = []
        if not self.optimizers_dict:
            super().on_fit_start()

    def fit_batch(self, batch):
        """One step; on a CPU, reading its loss costs nothing."""
        loss = super().fit_batch(batch)
        self.losses.append(loss.item())
        return loss


class Ours:
    """The system with its data and brain, as a run has them.

    Args:
        recipe: a contestant's.
        manifest: the corpus's.
        folder: for checkpoints; an epoch writes none.
    """

    def __init__(self, recipe: Path, manifest: Path, folder: Path):
        preparation = prepare(load_source(recipe, manifest=manifest))
        self.recipe = preparation.source.recipe
        training = self.recipe.training
        seed_all(1, "weights")
        self.system = build_system(self.recipe, preparation.targets)
        self.data = RunData(preparation, fixed_samples=self.system.fixed_samples)
        self.cache = FeatureCache(
            self.system,
            code_of_levels(self.recipe),
            [self.data.train],
            limit_mb=training.feature_cache_mb,
            precision=training.feature_precision,
            device="cpu",
        )
        self.system.levels["spectrogram"].fit(features["spectrogram"] for features, _ in self.features())
        self.brain = KeptBrain(
            self.system,
            build_objective(self.recipe, self.system, self.data.class_counts()),
            training=training,
            sampler=self.data.training_batches(),
            rules=stopping_rules("session-out"),
            folder=folder,
            targets={},
            metrics=lambda scores: {},
            on_epoch=lambda history: None,
        )
        self.loader = self.data.loader(self.data.train, self.brain.train_sampler, cache=self.cache)

    def epoch(self) -> list[float]:
        """Train on the batches of the first epoch; returns the losses."""
        self.brain.fit([1], self.loader)
        return self.brain.losses

    def features(self) -> Iterator[tuple[dict[str, Seq], Tensor]]:
        """The features of the training segments in order, and their labels."""
        for batch in in_order(self.data.train, self.cache):
            yield batch.inputs, batch.targets["label"]

    def plain_inputs(self) -> dict[str, list]:
        """The opponent's training data: image, MFCC, waveform and label of every segment, and the batches."""
        spectrogram = self.system.levels["spectrogram"]
        rows = [
            (
                image(spectrogram.scaler(features["spectrogram"].values).flip(2), spectrogram.image_size),
                torch.nn.functional.normalize(features["mfcc"].values, dim=2),
                features["wav2vec2"].values[:, :, 0],
                labels,
            )
            for features, labels in self.features()
        ]
        inputs = [torch.cat(parts).contiguous() for parts in zip(*rows, strict=True)]
        batches = [[int(index) for index in batch] for batch in self.data.training_batches()]
        return {"inputs": inputs, "batches": batches}


def differences(folder: Path, manifest: Path) -> list[float]:
    """Differences of the losses of an epoch, with equal weights and no dropout; writes the opponent's inputs."""
    ours = Ours(write_recipe(folder / "same.yaml", CONTESTANTS["tuned"], dropout=False), manifest, folder / "same")
    saved = ours.plain_inputs()
    torch.save(saved, folder / INPUTS)
    model = PlainComposition(dropout=False)
    model.load_state_dict(plain_state(ours.system.state_dict()))
    theirs = Training(saved["inputs"], saved["batches"], model)
    return [abs(a - b) for a, b in zip(ours.epoch(), theirs.epoch(), strict=True)]


class Process:
    """A contestant or the opponent in a process of its own, on the data that main() has written to the folder.

    Args:
        name: a contestant's, or `OPPONENT`.
        folder: with the inputs.
    """

    def __init__(self, name: str, folder: Path):
        script = [FOLDER / "plain_composition.py", folder / INPUTS]
        if name != OPPONENT:
            script = [__file__, "--contestant", name, "--folder", folder]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        self.process = subprocess.Popen([sys.executable, *script], **pipes)

    def epoch(self) -> None:
        """Have the process train an epoch, and wait for it."""
        self.process.stdin.write("epoch\n")
        assert "trained\n" in iter(self.process.stdout.readline, "")

    def end(self) -> tuple[float, float]:
        """End the process; returns the megabytes of its peak, and of its libraries."""
        most, libraries = map(float, self.process.communicate()[0].split())
        return most, libraries


def main() -> None:
    """Compare all contestants with the opponent, in turns; with --contestant, train one and print its peak memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--utterances", type=int, default=15, help="15 make three whole batches")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--contestant", choices=CONTESTANTS, help="train this one for an epoch, in this process")
    parser.add_argument("--folder", type=Path, help="where main() has written its inputs")
    settings = parser.parse_args()
    if settings.contestant:
        libraries = megabytes("VmRSS")
        keep_freed_blocks()  # as every run does
        name, folder = settings.contestant, settings.folder
        ours = Ours(write_recipe(folder / f"{name}.yaml", CONTESTANTS[name]), folder / MANIFEST, folder / name)
        train_on_request(ours.epoch, libraries)
        return
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TOOLKIT_CACHE"] = f"{folder}/cache"
        write_corpus((folder / MANIFEST).parent, settings.utterances)
        errors = differences(folder, folder / MANIFEST)
        assert max(errors) < 1e-4, f"not the same mathematics: losses differ by {max(errors)}"
        give_back()  # two processes of several GB follow
        for name in CONTESTANTS:
            ours, theirs = Process(name, folder), Process(OPPONENT, folder)
            timing = alternate(ours.epoch, theirs.epoch, rounds=settings.rounds)
            rows.append(row(CONTESTANTS[name].what, timing, len(errors), ours.end(), theirs.end()))
    Result(
        "full_system.py",
        f"A training step of mtl_cr.yaml with random weights, without layerdrop and masks: {len(errors)} batches of 4 "
        f"segments of 3 s an epoch, float32, {torch.get_num_threads()} threads; loop and loaders included.",
        "Opponent: a plain composition of torchvision, torch and transformers that trains everything, in "
        "benchmarks/plain_composition.py.",
        rows,
        [
            f"With the same weights and no dropout, the losses of an epoch differ by at most {max(errors):.1e}.",
            "Ratios are ours divided by the opponent's: below 1 is faster, or less memory. The opponent's inputs were "
            "computed beforehand and are in memory; ours are computed from the files in every epoch, except those "
            "from the cache. The last column leaves out the memory that a process has once everything is imported.",
        ],
    ).report()


def row(
    what: str, timing: Timing, steps: int, ours: tuple[float, float], theirs: tuple[float, float]
) -> dict[str, str]:
    """A row of the table; ours, theirs: what `Process.end` has returned."""
    ratios = [1 / ratio for ratio in timing.ratios][::-1]
    return {
        "what": what,
        "ours, s": f"{statistics.median(timing.ours) / steps:.3g}",
        "opponent, s": f"{statistics.median(timing.theirs) / steps:.3g}",
        "ratio": f"{statistics.median(ratios):.3f}",
        "range": f"{ratios[0]:.3f} to {ratios[-1]:.3f}",
        "peak, MB": f"{ours[0]:.0f}",
        "opponent's, MB": f"{theirs[0]:.0f}",
        "ratio of peaks": f"{ours[0] / theirs[0]:.3f}",
        "ratio without libraries": f"{(ours[0] - ours[1]) / (theirs[0] - theirs[1]):.3f}",
    }


if __name__ == "__main__":
    main()
