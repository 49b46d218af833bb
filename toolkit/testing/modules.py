"""What all plugins with parameters have in common: a case, and the properties that are asked of each."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from toolkit.contracts import Seq
from toolkit.plugins.kinds import KINDS
from toolkit.plugins.signatures import read_arguments
from toolkit.testing.case import Case, plugin_class, require
from toolkit.testing.tensors import copy_state, random_sum, require_same, tensors_in

TRIALS = 3


@dataclass(frozen=True)
class ModuleCase(Case):
    """A plugin with parameters.

    Args:
        tolerance: relative error that counts as equal.
    """

    tolerance: float = 1e-5

    def build(self) -> nn.Module:
        """A new module in eval() mode."""
        return super().build().eval()

    def empty(self) -> nn.Module:
        """A new module that is about to load a state."""
        return self.build()

    def inputs(self, module: nn.Module) -> tuple:
        """Random arguments of `outputs`, of several rows."""
        raise NotImplementedError

    def outputs(self, module: nn.Module, *inputs: Any) -> dict[str, Tensor]:
        """What the module makes of them: name -> tensor, zeros beyond lengths."""
        raise NotImplementedError

    def inputs_in_bfloat16(self, module: nn.Module) -> tuple:
        """The arguments that it gets under autocast."""
        return self.inputs(module)


def arguments_are_documented(case: Case) -> None:
    """Constructor arguments are keyword-only, annotated and explained in the class's docstring."""
    cls = plugin_class(case.make)
    if cls is None or cls.__init__ in (object.__init__, nn.Module.__init__):
        return  # which arguments a function takes is not known
    for name, parameter in inspect.signature(cls).parameters.items():
        require(
            parameter.kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD),
            f"constructor argument {name!r} can be given by position: write it after `*`",
        )
    for argument in read_arguments(cls, KINDS[case.kind].context):
        if not argument.given:
            require(argument.annotation is not Any, f"constructor argument {argument.name!r} has no annotation")
            require(argument.meaning, f"{argument.name!r} is not explained under Args in the class's docstring")


def frozen_is_deterministic_in_training(case: ModuleCase) -> None:
    """What is frozen stays in eval() mode after train(): no dropout, no moving statistics; eval() is deterministic."""
    module = case.build()
    inputs = case.inputs(module)
    require_same(case.outputs(module, *inputs), case.outputs(module, *inputs), 0, "of a second pass in eval() mode")
    module.train()
    for name, part in module.named_modules():
        parameters = list(part.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            for inner_name, inner in part.named_modules(prefix=name):
                require(
                    not (inner.training and _changes_in_training(inner)),
                    f"{inner_name} ({type(inner).__name__}) of frozen {name or 'plugin'} is in train() mode after "
                    "train(): override train() and put what is frozen back into eval()",
                )


def state_survives_safetensors(case: ModuleCase) -> None:
    """A new plugin that loads the state gives the same output; what `fit` found is in the state."""
    one, other = case.build(), case.empty()
    copy_state(one, other)
    inputs = case.inputs(one)
    require_same(case.outputs(other, *inputs), case.outputs(one, *inputs), 0, "after loading the state")


def input_is_left_alone(case: ModuleCase) -> None:
    """The plugin does not write into what it is given."""
    module = case.build().train()
    require_unwritten(lambda *inputs: case.outputs(module, *inputs), *case.inputs(module))


def runs_in_bfloat16(case: ModuleCase) -> None:
    """Under autocast to bfloat16 (recipes' `precision: bf16`) output and gradients are finite."""
    module = case.build().train()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = case.outputs(module, *case.inputs_in_bfloat16(module))
    require_finite(module, outputs, "under autocast to bfloat16")


def require_unwritten(call: Callable[..., Any], *inputs: Any, what: str = "the plugin") -> None:
    """Raise Violation where a call changes its inputs."""
    before = [tensor.clone() for tensor in tensors_in(inputs)]
    call(*inputs)
    require(all(map(torch.equal, tensors_in(inputs), before)), f"{what} writes into its input")


def require_finite(
    module: nn.Module, outputs: Mapping[str, Tensor], what: str, inputs: Mapping[str, Tensor] | None = None
) -> None:
    """Outputs, and the gradients of parameters and `inputs`, are finite."""
    for name, output in outputs.items():
        require(output.isfinite().all(), f"{name} {what} is not finite")
    total = random_sum(outputs)
    if total.requires_grad:
        total.backward()
    for name, tensor in [*module.named_parameters(), *(inputs or {}).items()]:
        require(tensor.grad is None or tensor.grad.isfinite().all(), f"{name}.grad {what} is not finite")


def require_gradients(module: nn.Module, forward: Callable[[], tuple[Tensor, Mapping[str, Tensor | Seq]]]) -> None:
    """What is trained, and every input, gets a finite gradient that is not always zero; nothing else gets one.

    Args:
        module: put into train() mode.
        forward: makes a scalar from random inputs; returns it with those of them that need a gradient, by name.
            A Seq gets none beyond its lengths. Called a few times.
    """
    module.train()
    reached: dict[str, bool] = {}
    for trial in range(TRIALS):
        torch.manual_seed(trial)
        module.zero_grad(set_to_none=True)
        total, inputs = forward()
        if total.requires_grad:
            total.backward()
        for name, given in inputs.items():
            values = given.values if isinstance(given, Seq) else given
            _note(reached, name, values)
            if isinstance(given, Seq) and values.grad is not None:
                require(not values.grad[~given.mask].any(), f"{name} beyond the lengths gets a gradient")
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                _note(reached, name, parameter)
            else:
                require(parameter.grad is None, f"{name} is frozen and has a gradient")
    lost = [name for name, ok in reached.items() if not ok]
    require(
        not lost,
        f"no gradient reaches {', '.join(lost[:5])}{' ...' if len(lost) > 5 else ''}; "
        "freeze what is not trained (requires_grad_(False)), or leave it out",
    )


def _note(reached: dict[str, bool], name: str, tensor: Tensor) -> None:
    gradient = tensor.grad
    require(gradient is None or gradient.isfinite().all(), f"{name}.grad is not finite")
    reached[name] = reached.get(name, False) or bool(gradient is not None and gradient.any())


def _changes_in_training(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    if isinstance(module, nn.RNNBase):
        return module.dropout > 0
    return isinstance(module, nn.modules.batchnorm._BatchNorm | nn.SyncBatchNorm)
