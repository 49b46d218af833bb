"""A run as a whole: one training for two protocols, covariates, workers, what is refused and what is kept."""

import csv
import gc
import json
import threading
import time
from pathlib import Path

import pytest
import soundfile
import torch
from small_system import write_recipe
from wav2vec2_checkpoints import SMALL

from toolkit.errors import AudioError, CheckpointError, ExperimentError, RecipeError, ToolkitError
from toolkit.inference.bundle.export import export_bundle
from toolkit.training.loop.brain import SystemBrain
from toolkit.training.predictions import read_confidence
from toolkit.training.preparation import load_source, prepare
from toolkit.training.run import Run
from toolkit_plugins.heads.discriminant import Discriminant


@pytest.fixture
def recipe(tmp_path) -> Path:
    return write_recipe(tmp_path)


def run(recipe: Path, *overrides: str, lines: list[str] | None = None) -> Path:
    """Train; returns the run's folder."""
    preparation = prepare(load_source(recipe, list(overrides)))
    return Run(preparation, say=[].append if lines is None else lines.append).train().parent


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def test_loso_and_loso_test_epoch_are_read_from_one_training(recipe):
    honest = run(recipe, "--protocol=loso", "--training.patience=1", "--training.min_epochs=0")
    lines = []
    chosen = run(recipe, "--protocol=loso-test-epoch", "--training.patience=1", "--training.min_epochs=0", lines=lines)
    assert any(line.startswith("Trained already; only the test is left") for line in lines)
    assert honest.name.replace("-loso-", "-loso-test-epoch-") == chosen.name
    curve = list(csv.DictReader((honest / "epochs.csv").read_text().splitlines()))
    best = max(curve, key=lambda row: float(row["test_wa"]) + float(row["test_ua"]))
    assert results(chosen)["epoch"] == int(best["epoch"])
    assert results(chosen)["ua"] == pytest.approx(float(best["test_ua"]))
    assert "loso-test-epoch: the epoch was chosen on the test speaker" in results(chosen)["stamps"]
    for name in ("recipe.yaml", "manifest.csv", "epochs.csv", "predictions.csv"):
        assert "chosen on the test speaker" in (chosen / name).read_text()
        assert "chosen on the test speaker" not in (honest / name).read_text()
    assert results(honest)["stamps"] == []


def test_a_run_that_takes_its_training_from_another_deletes_its_own_unfinished_one(recipe, tmp_path, monkeypatch):
    ended = SystemBrain.on_stage_end

    def killed(brain, stage, loss, epoch=None):
        if epoch == 2:
            raise KeyboardInterrupt
        ended(brain, stage, loss, epoch)

    monkeypatch.setattr(SystemBrain, "on_stage_end", killed)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, "--protocol=loso-test-epoch")
    monkeypatch.undo()
    run(recipe, "--protocol=loso")
    chosen = run(recipe, "--protocol=loso-test-epoch")
    assert not (chosen / "checkpoints").exists()
    assert export_bundle(chosen, tmp_path / "chosen.zip").is_file()


def test_a_training_returns_the_threads_that_it_does_not_use(recipe, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        folder = run(recipe, "--training.epochs=1")
        assert results(folder)["threads"] == 1 and torch.get_num_threads() == 3
        (folder / "results.json").unlink()
        assert results(run(recipe, "--training.epochs=1"))["threads"] == 1 and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_an_evaluation_after_the_training_is_a_test_by_name(recipe, monkeypatch):
    said = []
    monkeypatch.setattr("toolkit.training.loop.brain.doing", said.append)
    run(recipe, "--training.epochs=1")
    stages = list(dict.fromkeys(line.partition(",")[0] for line in said))
    assert stages == ["epoch 1 of 1", "evaluation of epoch 1", "test"]


def test_the_published_protocol_is_stamped_in_every_file(recipe):
    folder = run(recipe, "--protocol=loso-as-published", "--training.epochs=1")
    for name in ("results.json", "recipe.yaml", "manifest.csv", "epochs.csv", "predictions.csv"):
        assert "the test speaker also validated" in (folder / name).read_text()
    assert not (folder / "validation.csv").exists()  # the part is the test part


def test_the_predictions_for_the_validation_part_are_those_of_the_epoch_that_was_tested(recipe):
    folder = run(recipe, "--protocol=loso", "--training.epochs=2")
    test, valid = (
        list(csv.DictReader((folder / name).read_text().splitlines())) for name in ("predictions.csv", "validation.csv")
    )
    assert test[0].keys() == valid[0].keys() and not {r["id"] for r in test} & {r["id"] for r in valid}
    right = [row["reference"] == row["predicted"] for row in valid]
    assert results(folder)["valid_wa"] == pytest.approx(sum(right) / len(right))
    probabilities = [[float(row[f"p_{label}"]) for label in results(folder)["labels"]] for row in valid]
    assert all(sum(row) == pytest.approx(1) for row in probabilities)


def test_the_predictions_for_the_validation_part_have_to_be_those_of_the_results(recipe):
    folder = run(recipe, "--protocol=loso", "--training.epochs=1")
    found, file = results(folder), folder / "validation.csv"
    assert read_confidence(folder, found["labels"], found).utterances == 4
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ExperimentError, match=r"validation\.csv and results\.json belong to different runs"):
        read_confidence(folder, found["labels"], found)


FITTED = """\
extends: small.yaml
model:
  levels: {mfcc: {args: {encoder: none}}}
  fusion: {plugin: concat, args: {pooling: statistics, standardize: true, project: false}}
  heads: {emotion: {plugin: discriminant, on: fused}, level: null}
  losses: {center: null}
training: {epochs: 0}
"""


@pytest.mark.parametrize(("epochs", "average"), [(0, "none"), (2, "none"), (1, "ema")])
def test_epoch_0_is_a_fitted_head_before_the_first_step(recipe, epochs, average):
    recipe = recipe.with_name("fitted.yaml")
    recipe.write_text(FITTED)
    folder = run(recipe, f"--training.epochs={epochs}", f"--training.average.name={average}")
    rows = list(csv.DictReader((folder / "epochs.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == [str(epoch) for epoch in range(epochs + 1)]
    assert rows[0]["train_loss"] == "" and all(float(row["train_loss"]) >= 0 for row in rows[1:])
    assert results(folder)["epoch"] in range(epochs + 1) and results(folder)["epochs"] == epochs + 1
    assert float(rows[0]["valid_ua"]) == 1.0  # tones and noise are told apart without a step


@pytest.mark.parametrize("epochs", [0, 1])
def test_the_time_of_fitting_counts_once(recipe, epochs, monkeypatch):
    fit = Discriminant.fit
    monkeypatch.setattr(Discriminant, "fit", lambda head, batches: (time.sleep(0.5), fit(head, batches)))
    recipe = recipe.with_name("fitted.yaml")
    recipe.write_text(FITTED)
    folder = run(recipe, f"--training.epochs={epochs}")
    seconds = [float(row["seconds"]) for row in csv.DictReader((folder / "epochs.csv").read_text().splitlines())]
    assert seconds[0] >= 0.5 and results(folder)["seconds"] == pytest.approx(sum(seconds), abs=0.002)
    assert all(each < 0.5 for each in seconds[1:])


@pytest.fixture
def fitted_to(monkeypatch):
    """The batches that discriminants are fitted to, a list for each fit."""
    seen, fit = [], Discriminant.fit

    def watched(self, batches):
        seen.append(list(batches))
        fit(self, seen[-1])

    monkeypatch.setattr(Discriminant, "fit", watched)
    return seen


def test_fit_passes_show_a_head_the_training_part_again_with_augmented_waveforms(recipe, fitted_to):
    recipe = recipe.with_name("fitted.yaml")
    recipe.write_text(FITTED + "augmentations: {faster: {plugin: speed, p: 1}, mixed: {plugin: mixup, p: 1}}\n")
    run(recipe, "--training.fit_passes=2")
    rows, classes, groups = (torch.cat(parts) for parts in zip(*fitted_to[0], strict=True))
    clean, first, second = rows.chunk(3)
    assert torch.equal(classes.view(3, -1), classes.chunk(3)[0].expand(3, -1))
    assert not torch.allclose(clean, first) and not torch.allclose(first, second)
    assert torch.equal(groups.chunk(3)[0], groups.chunk(3)[1]) and len(groups.unique()) == 2  # speakers of a session


def test_fit_passes_show_a_head_no_masks(recipe, fitted_to):
    recipe = recipe.with_name("fitted.yaml")
    recipe.write_text(FITTED + "augmentations: {mask: {plugin: time_mask, p: 1, args: {frames: 30}}}\n")
    run(recipe, "--training.fit_passes=1")
    clean, again = torch.cat([rows for rows, _, _ in fitted_to[0]]).chunk(2)
    assert torch.equal(clean, again)


def test_no_epochs_without_a_fitted_head_are_refused(recipe):
    with pytest.raises(RecipeError, match=r"training\.epochs is 0, which trains nothing"):
        run(recipe, "--training.epochs=0")
    assert not (recipe.parent / "results").exists()


@pytest.mark.parametrize(
    ("settings", "untrained"),
    [
        ("levels: {mfcc: {args: {encoder: bilstm}}}", "model.levels.mfcc"),
        ("fusion: {args: {project: true}}", "model.fusion"),
        ("heads: {level: {plugin: linear, on: mfcc}}", "model.heads.level"),
        ("covariates: {gender: {source: predicted, level: mfcc}}", "model.covariates.gender"),
    ],
)
def test_no_epochs_with_a_part_that_would_stay_random_are_refused(recipe, settings, untrained):
    recipe.with_name("fitted.yaml").write_text(FITTED)
    recipe = recipe.with_name("untrained.yaml")
    recipe.write_text(f"extends: fitted.yaml\nmodel: {{{settings}}}\n")
    with pytest.raises(RecipeError, match=f"trains nothing, and {untrained} would stay random"):
        run(recipe)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            "{bands: {plugin: freq_mask, on: wave}}",
            "augmentations.bands.on in masked.yaml, line 4: level 'wave': features of one channel, such as waveforms, "
            "cannot be masked; `on` chooses the levels.",
        ),
        (
            "{spans: {plugin: time_mask, args: {fill: minimum}}}",
            "level 'segment': each segment has one frame, so no span can be masked; `on` chooses the levels.",
        ),
    ],
)
def test_a_mask_on_a_level_that_has_nothing_to_mask_is_refused(recipe, settings, message):
    wave = {"plugin": "wav2vec2", "args": {"source": "random", "config": SMALL}}
    levels = {"mfcc": None, "segment": {"plugin": "functionals"}, "wave": wave}
    model = {"levels": levels, "heads": {"level": {"on": "segment"}}}
    recipe = recipe.with_name("masked.yaml")
    recipe.write_text(f"extends: small.yaml\nmodel: {json.dumps(model)}\n\naugmentations: {settings}\n")
    with pytest.raises(RecipeError) as refused:
        run(recipe, "--training.epochs=1")
    assert message in str(refused.value)


def test_naming_the_default_fold_is_the_same_run(recipe):
    first = run(recipe, "--training.epochs=1")
    lines = []
    assert run(recipe, "--training.epochs=1", "--fold=S1", lines=lines) == first
    assert lines == [f"This run is finished; nothing is trained: {first}"]


@pytest.mark.parametrize("source", ["label", "shuffled", "predicted"])
def test_a_covariate_enters_the_fusion_whatever_its_source(tmp_path, source):
    recipe = write_recipe(tmp_path)
    level = ", level: mfcc" if source == "predicted" else ""
    covariates = f"  covariates:\n    gender: {{source: {source}{level}}}\n"
    recipe.write_text(recipe.read_text().replace("  fusion:", covariates + "  fusion:"))
    preparation = prepare(load_source(recipe, ["--training.epochs=1"]))
    made = Run(preparation, say=[].append)
    assert made.system.fusion.fuse[-2].in_features == 8 + 2  # the embedding's and the genders'
    assert results(made.train().parent)["n_utterances"] == 8


def test_a_fusion_that_standardizes_is_fitted_on_the_training_part(recipe):
    made = Run(
        prepare(load_source(recipe, ["--model.fusion.args.standardize=true", "--training.epochs=1"])), say=[].append
    )
    scaler = made.system.fusion.pool["mfcc"].scaler
    assert scaler.mean.count_nonzero() == 0  # before
    made.train()
    assert scaler.mean.count_nonzero() > 0 and scaler.deviation.min() > 0


@pytest.mark.parametrize("start", [0, 1])
def test_averaged_weights_are_validated_tested_and_kept(recipe, start):
    lines, average = [], f"--training.average={{name: swa, start: {start}}}"
    made = Run(prepare(load_source(recipe, [average, "--training.epochs=2"])), say=lines.append)
    folder = made.train().parent
    assert "Validation and test use averaged weights: swa." in lines and results(folder)["average"] == "swa"
    plain = run(recipe, "--training.epochs=2")
    rows = [list(csv.DictReader((path / "epochs.csv").read_text().splitlines())) for path in (folder, plain)]
    assert [row["train_loss"] for row in rows[0]] == [row["train_loss"] for row in rows[1]]  # the training is the same
    chosen = 1 if results(folder)["epoch"] == 1 else 2
    (best,) = folder.glob("checkpoints/*")
    kept, live = (torch.load(best / f"{name}.ckpt", weights_only=True) for name in ("system", "live"))
    name = "heads.level.output.weight"
    alone = start == chosen == 1  # of one epoch without the start there is nothing to average
    assert torch.equal(kept[name], live[name]) == alone


def test_workers_change_nothing(recipe):
    alone = run(recipe, "--output_folder", str(recipe.parent / "a"))
    helped = run(recipe, "--output_folder", str(recipe.parent / "b"), "--training.workers=2")
    assert alone.name == helped.name
    assert (alone / "predictions.csv").read_bytes() == (helped / "predictions.csv").read_bytes()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_breaks_while_training_is_one_line_that_names_it(recipe, workers):
    broken = recipe.parent / "corpus" / "3F1.wav"
    data, rate = soundfile.read(broken)
    made = Run(prepare(load_source(recipe, [f"--training.workers={workers}"])), say=[].append)
    soundfile.write(broken, data, rate)
    broken.write_bytes(broken.read_bytes()[:-200])
    with pytest.raises(AudioError, match=r"3F1\.wav") as error:
        made.train()
    assert "\n" not in str(error.value)


def test_weights_that_diverge_are_not_scored(recipe):
    settings = ("--training.optimizer={name: sgd, learning_rate: 1e30}", "--training.max_grad_norm=null")
    with pytest.raises(ToolkitError, match=r"not finite.*Lower training\.optimizer\.learning_rate"):
        run(recipe, *settings)


def test_another_epoch_is_never_tested_instead_of_the_best(recipe):
    folder = run(recipe, "--protocol=loso")
    (folder / "results.json").unlink()
    for checkpoint in (folder / "checkpoints").iterdir():
        if "best_valid" in (checkpoint / "CKPT.yaml").read_text():
            (checkpoint / "system.ckpt").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="No intact checkpoint of the best epoch"):
        run(recipe, "--protocol=loso")


def test_a_lost_results_file_is_made_again_without_training(recipe):
    folder = run(recipe)
    before = results(folder)
    (folder / "results.json").unlink()
    lines = []
    assert results(run(recipe, lines=lines)) == before
    assert any(line.startswith("Trained already") for line in lines)


def test_a_finished_run_keeps_the_checkpoint_of_its_best_epoch_alone(recipe):
    folder = run(recipe)
    (kept,) = (folder / "checkpoints").iterdir()
    assert f"epoch: {results(folder)['epoch']}" in (kept / "CKPT.yaml").read_text()


def test_a_fold_named_like_a_path_stays_in_the_output_folder(recipe):
    manifest = recipe.parent / "corpus" / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(",S1\n", ",../../S1\n"))
    folder = run(recipe, "--training.epochs=1", "--fold=../../S1")
    assert folder.parent == recipe.parent / "results"
    assert results(folder)["fold"] == "../../S1"


def test_tensorboard_gets_what_epochs_csv_has(recipe):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = run(recipe)
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    curve = list(csv.DictReader((folder / "epochs.csv").read_text().splitlines()))
    logged = [event.value for event in events.Scalars("valid/ua")]
    assert logged == pytest.approx([float(row["valid_ua"]) for row in curve])


def test_a_training_leaves_no_thread_behind(recipe):
    before = set(threading.enumerate())
    run(recipe, "--training.epochs=1", "--training.workers=1")
    gc.collect()  # the first optimizer of a process imports a module of torch whose cycle holds the callers' frames
    left = [thread for thread in set(threading.enumerate()) - before if "tqdm" not in thread.name]
    for thread in left:
        thread.join(30)  # a loader's queue ends a moment after the loader
    assert not any(thread.is_alive() for thread in left)


def test_training_goes_on_without_tensorboard(recipe, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "tensorboard", None)
    folder = run(recipe, "--training.epochs=1")
    assert not (folder / "tensorboard").exists()
