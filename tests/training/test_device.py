"""Where a run computes, and how precisely."""

import json
import os
from pathlib import Path

import pytest
import torch
from small_system import write_recipe

from toolkit.errors import RecipeError, ToolkitError
from toolkit.hardware import device_name
from toolkit.training.preparation import load_source, prepare
from toolkit.training.run import Run
from toolkit.training.run_data import choose_device


@pytest.fixture
def recipe(tmp_path) -> Path:
    return write_recipe(tmp_path)


def test_bf16_trains_and_evaluates_on_the_cpu(recipe):
    seen, overrides = set(), ["--training.precision=bf16", "--training.epochs=1"]
    made = Run(prepare(load_source(recipe, overrides)), say=lambda line: None)
    linear = made.system.heads["level"].output
    linear.register_forward_hook(lambda layer, _, output: seen.add((layer.training, output.dtype)))
    assert json.loads(made.train().read_text())["precision"] == "bf16"
    assert seen == {(True, torch.bfloat16), (False, torch.bfloat16)}


def test_processes_that_train_together_have_a_gpu_each(recipe, monkeypatch):
    monkeypatch.setattr("toolkit.training.run_data.ranks", lambda: 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device(load_source(recipe, ["--training.device=cuda"]).recipe) == "cuda:1"
    with pytest.raises(RecipeError, match="each has its own: give cuda"):
        choose_device(load_source(recipe, ["--training.device=cuda:0"]).recipe)


@pytest.mark.parametrize(
    ("device", "precision", "message"),
    [
        ("gpu", "fp32", "cpu, cuda, or cuda:1"),
        ("mps", "fp32", "cpu, cuda, or cuda:1"),
        ("cuda:7", "fp32", "torch finds 1 GPU here"),
        ("cpu:0", "fp16", "needs a GPU"),
    ],
)
def test_a_device_that_is_not_there_is_one_line(recipe, device, precision, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    source = load_source(recipe, [f"--training.device={device}", f"--training.precision={precision}"])
    with pytest.raises(ToolkitError, match=message):
        choose_device(source.recipe)


def test_a_processor_is_named_with_its_logical_cpus(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 32)
    assert device_name("cpu").endswith(", 32 logical CPUs")
