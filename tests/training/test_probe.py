"""`training.probe`: a phase that trains everything but the pre-trained weights, before the training itself."""

import copy
import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_system import PROBED, write_recipe

from toolkit.errors import RecipeError
from toolkit.training.preparation import load_source, prepare
from toolkit.training.run import Run
from toolkit_plugins.extractors import alexnet
from toolkit_plugins.heads.discriminant import Discriminant

IMAGES = """\
extends: small.yaml
model:
  levels:
    mfcc: null
    spectrogram:
      plugin: spectrogram
      args: {weights: %s, normalization: batch, image_size: [63, 63], pool: [1, 1]}
  heads: {level: {on: spectrogram}}
training: {probe: {epochs: 1, learning_rate: 0.02}}
"""


@pytest.fixture
def recipe(tmp_path) -> Path:
    return write_recipe(tmp_path)


def probed(recipe: Path, text: str, *overrides: str) -> tuple[Run, list[str]]:
    """A run whose training changes nothing of what the probe leaves, and the lines that it prints."""
    lines, file = [], recipe.with_name("probed.yaml")
    file.write_text(text)
    settings = ["--training.epochs=1", "--training.optimizer.learning_rate=0", *overrides]
    return Run(prepare(load_source(file, settings)), say=lines.append), lines


def changed_by(run: Run) -> set[str]:
    """The names in the state of what the training of a run changes."""
    before = copy.deepcopy(run.system.state_dict())
    run.train()
    return {name for name, value in run.system.state_dict().items() if not torch.equal(value, before[name])}


def test_a_probe_leaves_the_encoder_alone_and_the_training_starts_from_its_best_epoch(recipe):
    made, lines = probed(recipe, PROBED)
    changed, folder, whisper = changed_by(made), made.folder.path, made.system.levels["whisper"]
    assert not any(name.startswith("levels.whisper.model") for name in changed)
    assert {"fusion.pool.whisper.scaler.mean", "heads.level.output.weight"} <= changed
    assert whisper.model.conv1.weight.requires_grad and not whisper.model.embed_positions.weight.requires_grad
    rows = list(csv.DictReader((folder / "probe.csv").read_text().splitlines()))
    scores = [float(row["valid_wa"]) + float(row["valid_ua"]) for row in rows]
    found = json.loads((folder / "results.json").read_text())["probe"]["epoch"]
    assert len(scores) == 2 and found == 1 + scores.index(max(scores))
    starts = ["probe epoch   1", "probe epoch   2", "The probe ends;", "epoch   1  trai"]
    assert [line[:15] for line in lines if "epoch " in line] == starts
    (best,) = (folder / "probe").glob("*/system.ckpt")
    after = made.system.state_dict()
    assert all(torch.equal(after[name], value) for name, value in torch.load(best, weights_only=True).items())


def test_a_trial_of_a_search_keeps_no_weights_of_its_probe(recipe):
    file = recipe.with_name("probed.yaml")
    file.write_text(PROBED)
    prepared = prepare(load_source(file, ["--training.epochs=1"]))
    folder = Run(replace(prepared, evaluated=("valid",)), say=[].append).train().parent
    assert (folder / "probe.json").is_file() and not list(folder.glob("*/CKPT*"))


def test_a_profile_is_of_the_training_after_the_probe(recipe):
    made, lines = probed(recipe, PROBED, "--training.epochs=3", "--training.probe.epochs=3")  # 9 steps in each
    made.trace = recipe.with_name("trace.json")
    made.train()
    begins = next(i for i, line in enumerate(lines) if line.startswith("The probe ends"))
    (profile,) = (i for i, line in enumerate(lines) if line.startswith("Profile of 5 steps"))
    shares = [float(line.split()[-2]) for line in lines[profile + 1 : profile + 6]]
    assert profile > begins and sum(shares) <= 100.5


def test_a_probe_leaves_the_convolutions_of_a_spectrogram_alone(recipe, tmp_path):
    layers, _ = alexnet.build("random")
    torch.save(layers.state_dict(), tmp_path / "weights.pth")
    made, _ = probed(recipe, IMAGES % (tmp_path / "weights.pth"))
    level = made.system.levels["spectrogram"]
    convolutions = {n for n, part in level.backbone.named_modules() if isinstance(part, torch.nn.Conv2d)}
    changed = changed_by(made)
    assert len(convolutions) == 5 and all(p.requires_grad for p in level.parameters())
    assert not changed & {
        f"levels.spectrogram.backbone.{n}.{part}" for n in convolutions for part in ("weight", "bias")
    }
    own = {name.rpartition(".")[2] for name in changed if "backbone" in name}  # of the batch normalisation
    assert {"weight", "bias", "running_mean"} <= own and "heads.level.output.weight" in changed


def test_before_a_probe_fit_passes_show_a_head_augmented_waveforms(recipe, monkeypatch):
    seen = []
    monkeypatch.setattr(
        Discriminant, "fit", lambda self, rows: seen.append(torch.cat([values for values, _, _ in rows]))
    )
    text = PROBED.replace("{on: whisper}", "{plugin: discriminant, on: whisper}")
    made, lines = probed(
        recipe,
        text + "augmentations: {faster: {plugin: speed, p: 1}}\n",
        "--training.fit_passes=1",
        "--training.probe.epochs=1",
    )
    made.train()
    clean, copies = seen[0].chunk(2)
    assert len(seen) == 1 and not torch.isclose(clean, copies).all(dim=1).any()
    said = [line.split()[0] for line in lines]
    assert said.count("Waveforms") == 1 and said.index("probe") < said.index("Waveforms")  # the probe has none


@pytest.mark.parametrize("text", ["extends: small.yaml", IMAGES % "random"], ids=["mfcc", "spectrogram"])
def test_a_probe_of_nothing_pre_trained_is_one_line(recipe, text):
    with pytest.raises(RecipeError, match="no level here trains any: let one train them"):
        probed(recipe, text, "--training.probe.epochs=2")
