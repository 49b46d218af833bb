"""An epoch of the frozen w2e system: with features from the cache, and with the backbone run for every batch."""

import argparse
import os
import tempfile
from pathlib import Path

import torch
from measuring import ROUNDS, Result, alternate
from speech import write_corpus

from toolkit.data.batches import seed_all
from toolkit.data.cache.features import FeatureCache
from toolkit.data.front_ends import code_of_levels
from toolkit.model.system import build_system
from toolkit.training.loop.objective import build_objective
from toolkit.training.preparation import load_source, prepare
from toolkit.training.run_data import RunData

ROOT = Path(__file__).parents[1]
RECIPE = """\
extends: {base}
corpus: {{plugin: manifest, args: {{path: {manifest}}}}}
protocol: {{name: session-out}}
label_map: {{exc: null}}
model:
  levels:
    wav2vec2:
      args: {{source: random, tune: frozen, spec_augment: false, config: {{num_hidden_layers: {layers}}}}}
training: {{device: cpu, batch_size: 4, feature_precision: fp16, optimizer: {{learning_rate: 1.0e-3}}}}
"""


class Frozen:
    """A newly built system with its data.

    Args:
        recipe: w2e with wav2vec2 frozen.
        cached: whether features come from the cache, which is filled here, or are computed for every batch.
    """

    def __init__(self, recipe: Path, *, cached: bool):
        preparation = prepare(load_source(recipe))
        self.recipe = preparation.source.recipe
        seed_all(1, "weights")
        self.system = build_system(self.recipe, preparation.targets)
        self.data = RunData(preparation, fixed_samples=self.system.fixed_samples)
        self.objective = build_objective(self.recipe, self.system, self.data.class_counts())
        sets, code = [self.data.train, self.data.evaluation], code_of_levels(self.recipe)
        limit = 1e6 if cached else 0
        self.cache = FeatureCache(self.system, code, sets, limit_mb=limit, precision="fp16", device="cpu")
        assert bool(self.cache.front_ends) == cached
        learnt = [p for p in self.system.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(learnt, lr=self.recipe.training.optimizer.learning_rate)
        self.epochs, self.batches = 0, self.data.training_batches()
        self.loader = self.data.loader(self.data.train, self.batches, cache=self.cache)

    def epoch(self) -> None:
        """Train for an epoch, with that epoch's random numbers."""
        self.epochs += 1
        self.batches.set_epoch(self.epochs)
        seed_all(1, self.epochs)
        self.system.train()
        for batch in self.loader:
            loss = self.objective(self.system(batch.inputs, batch.covariates), batch.targets)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def logits(self) -> torch.Tensor:
        """Logits of all training segments: [segments, classes]."""
        self.system.eval()
        batches = self.data.loader(self.data.train, cache=self.cache)
        return torch.cat([self.system(b.inputs, b.covariates).logits["emotion"] for b in batches])


def compare(recipe: Path, rounds: int) -> tuple[dict[str, str], list[str]]:
    """The row of the table, and notes on the difference between the two after the same epochs."""
    cached, live = Frozen(recipe, cached=True), Frozen(recipe, cached=False)
    row = alternate(cached.epoch, live.epoch, rounds=rounds).row(
        f"an epoch, {len(cached.data.train)} segments of <= 3 s"
    )
    ours, theirs = cached.logits(), live.logits()
    same = int((ours.argmax(1) == theirs.argmax(1)).sum())
    difference = (ours - theirs).abs().max().item()
    millions = sum(p.numel() for p in cached.system.levels.parameters()) / 1e6
    return row, [
        f"The backbone has {millions:.0f} million parameters. Features are rounded to half precision in both.",
        f"After {cached.epochs} epochs {same} of {len(ours)} predictions are the same; logits differ by at most "
        f"{difference:.1e}.",
    ]


def main() -> None:
    """Compare on a small generated corpus."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--utterances", type=int, default=20)
    parser.add_argument("--layers", type=int, default=12, help="layers of the backbone; wav2vec2-base has 12")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    settings = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TOOLKIT_CACHE"] = f"{folder}/cache"
        write_corpus(Path(folder) / "corpus", settings.utterances)
        recipe = Path(folder) / "frozen.yaml"
        base, manifest = ROOT / "recipes/iemocap/hparams/w2e.yaml", Path(folder) / "corpus" / "manifest.csv"
        recipe.write_text(RECIPE.format(base=base, manifest=manifest, layers=settings.layers))
        row, notes = compare(recipe, settings.rounds)
    Result(
        "frozen_backbone.py",
        f"The frozen w2e system: a backbone of wav2vec2-base's shape ({settings.layers} layers), random weights.",
        "Opponent: the same system, which runs its backbone for every batch (training.feature_cache_mb 0), in "
        "benchmarks/frozen_backbone.py.",
        [row],
        [*notes, "The cache was filled beforehand."],
    ).report()


if __name__ == "__main__":
    main()
