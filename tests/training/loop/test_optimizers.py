"""A step that is taken or skipped alike by all optimizers, their exact resume, and what a recipe gives them."""

import io
from unittest.mock import Mock

import pytest
import torch
from small_system import write_recipe
from torch import nn

from toolkit.errors import RecipeError
from toolkit.recipe.training import GroupSpec, OptimizerSpec, TrainingSpec
from toolkit.training.loop.optimizers import OPTIMIZERS, build_optimizers, step_where
from toolkit.training.preparation import load_source

ARGS = [
    *((name, {}) for name in OPTIMIZERS),
    ("adam", {"amsgrad": True}),
    ("adamw", {"betas": [0.8, 0.9], "amsgrad": True}),
    ("radam", {"decoupled_weight_decay": True}),
    ("rmsprop", {"momentum": 0.9, "centered": True}),
    ("sgd", {"momentum": 0.9}),
    ("sgd", {"momentum": 0.9, "nesterov": True}),
    ("sgd", {"momentum": 0.9, "dampening": 0.5}),
]
IDS = ["-".join((name, *args)) for name, args in ARGS]
each_optimizer = pytest.mark.parametrize(("name", "args"), ARGS, ids=IDS)


def optimizers_of(training: TrainingSpec, levels: dict | None = None, **parts: nn.Module) -> dict:
    others = dict.fromkeys(("covariates", "fusion", "heads"), nn.Module())
    return build_optimizers(Mock(**{**others, **parts}, levels=levels or {}), nn.Module(), training)


def build(name: str, args: dict, weight: nn.Parameter, device: str = "cpu") -> torch.optim.Optimizer:
    spec = OptimizerSpec(name=name, learning_rate=0.1, weight_decay=0.01, args=args)
    training = TrainingSpec(optimizer=spec, device=device)
    (optimizer,) = optimizers_of(training, heads=nn.ParameterList([weight])).values()
    return optimizer


def run(name: str, args: dict, taken: list[bool], *, stop_before: int = 0, device: str = "cpu"):
    """Weights and state after steps with different gradients, not finite for a skipped step; saved and loaded once."""
    weight = nn.Parameter(torch.linspace(-2, 2, 6).reshape(2, 3))
    optimizer = build(name, args, weight, device)
    for number, one in enumerate(taken):
        if number == stop_before:
            file = io.BytesIO()
            torch.save((weight.detach(), optimizer.state_dict()), file)
            file.seek(0)
            values, state = torch.load(file, weights_only=True)
            weight = nn.Parameter(values)
            optimizer = build(name, args, weight, device)
            optimizer.load_state_dict(state)
        gradient = torch.randn(2, 3, generator=torch.Generator().manual_seed(sum(taken[:number])))
        weight.grad = gradient if one else torch.full((2, 3), float("nan"))
        step_where(optimizer, torch.tensor(one))
    return weight.detach(), optimizer.state_dict()["state"].get(0, {})


def assert_same(one, other):
    assert torch.equal(one[0], other[0])
    assert one[1].keys() == other[1].keys()
    assert all(torch.equal(torch.as_tensor(one[1][key]), torch.as_tensor(other[1][key])) for key in one[1])


@each_optimizer
def test_a_skipped_step_leaves_weights_and_state_as_they_were(name, args):
    skips = [False, True, False, False, True, True, False]
    assert_same(run(name, args, skips), run(name, args, [True] * 3))


@each_optimizer
def test_a_saved_optimizer_continues_to_the_same_bits(name, args):
    taken = [False, True, True, False, True, True]
    for stop_before in range(1, 6):
        assert_same(run(name, args, taken, stop_before=stop_before), run(name, args, taken))


@each_optimizer
def test_fused_steps_equal_those_that_are_not_fused(name, args):
    fused, plain = (run(name, args, [True, False, True], device=device) for device in ("cpu", "mps"))
    assert torch.allclose(fused[0], plain[0], atol=1e-6)


def test_a_step_leaves_no_instruction_for_a_later_one_behind():
    optimizer = build("adamw", {}, nn.Parameter(torch.ones(1)))
    step_where(optimizer, torch.tensor(False))
    assert not hasattr(optimizer, "found_inf") and not hasattr(optimizer, "grad_scale")


def test_optimizers_are_fused_where_a_fused_one_skips_steps_exactly():
    fused = [
        (name, bool(build(name, args, nn.Parameter(torch.ones(1)), device).param_groups[0].get("fused")))
        for name, args, device in [
            ("sgd", {}, "cpu"),
            ("sgd", {"momentum": 0.9}, "cpu"),
            ("adamw", {}, "cpu"),
            ("adamw", {}, "mps"),
            ("nadam", {}, "cpu"),
        ]
    ]
    assert fused == [("sgd", True), ("sgd", False), ("adamw", True), ("adamw", False), ("nadam", False)]


def test_a_group_adds_its_arguments_to_those_of_the_same_optimizer():
    training = TrainingSpec(
        device="cpu",
        optimizer=OptimizerSpec(name="sgd", args={"momentum": 0.9, "dampening": 0.5}),
        groups={
            "mfcc": GroupSpec(learning_rate=0.5, args={"momentum": 0.8}),
            "heads": GroupSpec(name="adam", args={"betas": [0.5, 0.6]}),
        },
    )
    level, fusion, heads = (nn.ParameterList([nn.Parameter(torch.ones(1))]) for _ in range(3))
    optimizers = optimizers_of(training, {"mfcc": level}, fusion=fusion, heads=heads)
    mfcc, fusion = optimizers["optimizer-sgd"].param_groups
    assert (mfcc["momentum"], mfcc["dampening"], mfcc["base_lr"]) == (0.8, 0.5, 0.5)
    assert (fusion["momentum"], fusion["dampening"], fusion["base_lr"]) == (0.9, 0.5, 1e-5)
    assert optimizers["optimizer-adam"].param_groups[0]["betas"] == (0.5, 0.6)


def test_the_rate_decays_from_the_top_layer_down():
    training = TrainingSpec(device="cpu", groups={"whisper": GroupSpec(learning_rate=0.8, layer_decay=0.5)})
    below, first, top, norm = parameters = [nn.Parameter(torch.ones(1)) for _ in range(4)]
    level = nn.ParameterList(parameters)
    level.layer_parameters = lambda: [[below], [first], [top]]
    (optimizer,) = optimizers_of(training, {"whisper": level}).values()
    found = [(group["base_lr"], [id(p) for p in group["params"]]) for group in optimizer.param_groups]
    assert found == [(0.8, [id(top), id(norm)]), (0.4, [id(first)]), (0.2, [id(below)])]
    level.layer_parameters = list
    with pytest.raises(RecipeError, match="whisper has no layers of pre-trained weights"):
        optimizers_of(training, {"whisper": level})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("optimizer.args.momentun", "0.9", r"args\.momentun on .*'sgd' has no argument 'momentun'.*mean 'momentum'"),
        ("optimizer.args.momentum", "x", r"args\.momentum on the command line: 'x' is text; a number is needed"),
        ("optimizer.args.momentum", "-1", r"args on .*: optimizer 'sgd': ValueError: Invalid momentum value: -1"),
        ("optimizer.args.nesterov", "true", r"args on .*: optimizer 'sgd': ValueError: Nesterov momentum requires"),
        ("optimizer.args.lr", "0.1", r"args\.lr on .*: write it beside args: training\.optimizer\.learning_rate\."),
        ("optimizer.args.fused", "false", r"args\.fused on .*: 'fused' is given to optimizer 'sgd' by the system"),
        ("groups.mfcc.args.weight_decay", "1", r"beside args: training\.groups\.mfcc\.weight_decay\."),
        ("groups.mfcc", "{name: adam, args: {betas: [0.9]}}", r"args\.betas on .* holds 1 values; 2 are needed"),
        ("groups.mfcc", "{name: adam, args: {betas: [a, b]}}", r"args on .*: optimizer 'adam': TypeError"),
        ("schedule", "step", r"args on .*: schedule 'step' needs the argument 'step_size' \(int\)"),
        ("schedule", "{name: step, args: {step_size: 0}}", r"schedule\.args on .*: schedule 'step': ZeroDivisionError"),
        ("schedule", "{name: cosine, args: {ends: 1}}", r"schedule\.args\.ends on .*Did you mean 'end'"),
        ("schedule", "{name: cosine, args: {end: x}}", r"schedule\.args\.end on .* 'x' is text; a number is needed"),
        ("schedule", "{name: cosine, args: {decay_steps: 9}}", r"'decay_steps' is given to schedule 'cosine' by"),
    ],
)
def test_an_argument_that_does_not_fit_is_refused_before_any_data_is_read(tmp_path, key, value, message):
    overrides = ["--training.optimizer.name=sgd", f"--training.{key}", value]
    with pytest.raises(RecipeError, match=r"^training\." + f"(.*){message}") as error:
        load_source(write_recipe(tmp_path), overrides)
    assert "\n" not in str(error.value)


def test_an_argument_is_named_with_its_file_and_line(tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"extends: {write_recipe(tmp_path).name}\ntraining:\n  optimizer:\n    args: {{momentun: 1}}\n")
    with pytest.raises(RecipeError, match=r"^training\.optimizer\.args\.momentun in mine\.yaml, line 4: "):
        load_source(recipe)
