"""On a GPU (skipped without one): a step waits for nothing, gives the CPU's numbers, and a killed training goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from reference_system import RECIPES, reference_batch, reference_brain, reference_step

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    pytest.mark.filterwarnings("default"),  # of compilers and drivers
]

ON_GPU = "--training.device=cuda"
NO_DROPOUT = (
    "--model.levels.wav2vec2.args.dropout=0",
    "--model.fusion.args.dropout=0",
    *(f"--model.heads.{head}.args.dropout=0" for head in ("emotion", "spectrogram", "mfcc", "wav2vec2")),
)
DETERMINISTIC = (
    "import runpy, sys, torch; torch.use_deterministic_algorithms(True, warn_only=True); sys.argv = sys.argv[1:]; "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)


@pytest.fixture(autouse=True)
def no_tf32(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def steps(brain, count: int) -> list[float]:
    losses = []
    for _ in range(count):
        brain.step += 1
        losses.append(brain.fit_batch(reference_batch(8).pin_memory()))
    return [loss.item() for loss in losses]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_step_waits_for_nothing(tmp_path, precision):
    brain = reference_brain(tmp_path, ON_GPU, f"--training.precision={precision}")
    steps(brain, 2)
    batch = reference_batch(8).pin_memory()
    torch.cuda.set_sync_debug_mode("error")
    try:
        brain.step += 1
        brain.update_average(brain.fit_batch(batch), 0.0)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    brain.read_log()
    assert brain.history.skipped_steps == 0 or precision == "fp16"  # a GradScaler begins with too large a scale


def test_a_system_gives_the_same_numbers_as_on_the_cpu():
    train_step, batch = reference_step().eval(), reference_batch(4)
    with torch.no_grad():
        expected = train_step.system(batch.inputs, {}).logits
        found = train_step.to("cuda").system(batch.to("cuda").inputs, {}).logits
    for head, logits in expected.items():
        torch.testing.assert_close(found[head].cpu(), logits, rtol=1e-3, atol=1e-3)


def test_a_compiled_step_gives_the_same_losses(tmp_path):
    settings = (ON_GPU, *NO_DROPOUT)
    plain = steps(reference_brain(tmp_path / "plain", *settings), 4)
    compiled = steps(reference_brain(tmp_path / "compiled", *settings, "--training.compile=true"), 4)
    assert compiled == pytest.approx(plain, rel=5e-3)


def start(output: Path, device: str = "cuda") -> subprocess.Popen:
    """The recipe's own command on its synthetic corpus, with deterministic kernels."""
    recipe = RECIPES.parent / "train.py"
    options = ["--training.device", device, "--training.precision", "bf16", "--training.epochs", "2"]
    options += ["--training.checkpoint_steps", "2", "--output_folder", str(output)]
    options += ["--model.levels.mfcc.args.layers", "2"]  # with dropout between them
    environment = os.environ | {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    with output.with_suffix(".log").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-c", DETERMINISTIC, recipe, "hparams/mtl_cr.yaml", *options],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
        )


def weights(output: Path) -> dict[str, torch.Tensor]:
    """The weights of the best epoch."""
    (path,) = output.glob("*/checkpoints/*/system.ckpt")
    return torch.load(path, weights_only=True, map_location="cpu")


def equal(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_killed_training_resumes_to_the_same_bits(tmp_path):
    first, again, killed = tmp_path / "first", tmp_path / "again", tmp_path / "killed"
    undisturbed, process = [start(first), start(again)], start(killed)
    end = time.monotonic() + 240
    while not list(killed.glob("*/checkpoints/CKPT*/system.ckpt")) and process.poll() is None:
        assert time.monotonic() < end, killed.with_suffix(".log").read_text()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, killed.with_suffix(".log").read_text()
    resumed = start(killed)
    assert [one.wait() for one in (*undisturbed, resumed)] == [0, 0, 0], killed.with_suffix(".log").read_text()
    assert "Resumes in epoch 1 after step" in killed.with_suffix(".log").read_text()
    if not equal(first, again):
        pytest.skip("two undisturbed trainings differ on this GPU: nothing to hold a resumed one against")
    assert equal(first, killed)
