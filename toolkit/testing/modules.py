"""The contract that all plugins with parameters share."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from toolkit.contracts import Seq
from toolkit.testing import Case, contract, require
from toolkit.testing.tensors import copy_state, random_sum, require_registered, require_same, tensors_in

TRIALS = 3


@dataclass(frozen=True)
class ModuleCase(Case):
    """A plugin with parameters; `tolerance` is the relative error that counts as equal."""

    tolerance: float = 1e-5
    basic = (*Case.basic, "input_is_left_alone", "evaluation_is_deterministic")

    def build(self) -> nn.Module:
        """A new module in eval() mode, fitted if it `fits`."""
        module = self.unfitted()
        if getattr(module, "fits", False):
            module.fit(self.training_part(module))
        return module

    def unfitted(self) -> nn.Module:
        """A new module in eval() mode that is not fitted, to load a state into."""
        return super().build().eval()

    training_part: ClassVar[Callable[..., Iterable]]  # (self, module) -> what `fit` reads
    inputs: ClassVar[Callable[..., tuple]]  # (self, module) -> random arguments of `outputs`, of several rows

    def outputs(self, module: nn.Module, *inputs: Any) -> dict[str, Tensor]:
        """The module's outputs for these inputs: name -> tensor, zeros beyond lengths."""
        made = module(*inputs)
        return made if isinstance(made, Mapping) else {"output": made}

    def inputs_in_bfloat16(self, module: nn.Module) -> tuple:
        """The arguments that it gets under autocast."""
        return self.inputs(module)

    def trained_pass(self, module: nn.Module) -> tuple[Tensor, Mapping[str, Tensor | Seq]]:
        """A scalar from random inputs, and those inputs that need a gradient, by name."""
        inputs = self.inputs(module)
        reached = {f"input {i}": given.requires_grad_() for i, given in enumerate(inputs) if given.is_floating_point()}
        return random_sum(self.outputs(module, *inputs)), reached

    @contract
    def gradients_reach_what_is_trained(self) -> None:
        """Trained parameters and inputs get a finite gradient that is not always zero; frozen parameters get none."""
        module = self.build().train()
        reached: dict[str, bool] = {}
        for trial in range(TRIALS):
            torch.manual_seed(trial)
            module.zero_grad(set_to_none=True)
            total, inputs = self.trained_pass(module)
            if total.requires_grad:
                total.backward()
            tensors = dict(module.named_parameters())
            for name, given in inputs.items():
                tensors[name] = given.values if isinstance(given, Seq) else given
                if isinstance(given, Seq) and given.values.grad is not None:
                    require(not given.values.grad[~given.mask].any(), f"{name} beyond the lengths gets a gradient")
            for name, tensor in tensors.items():
                gradient, frozen = tensor.grad, not tensor.requires_grad
                require(gradient is None or not frozen, f"{name} is frozen and has a gradient")
                require(gradient is None or gradient.isfinite().all(), f"{name}.grad is not finite")
                reached[name] = reached.get(name, frozen) or (gradient is not None and bool(gradient.any()))
        lost = [name for name, ok in reached.items() if not ok]
        found = f"no gradient reaches {', '.join(lost[:5])}{' ...' if len(lost) > 5 else ''}"
        require(not lost, f"{found}; freeze what is not trained (requires_grad_(False)), or leave it out")

    @contract
    def evaluation_is_deterministic(self) -> None:
        """A second pass in eval() mode gives the same result, to the bit."""
        module = self.build()
        self.require_alike(module, module, "of a second pass in eval() mode")

    @contract
    def frozen_is_deterministic_in_training(self) -> None:
        """Frozen parts stay in eval() mode after train(): no dropout, no running mean."""
        module = self.build().train()
        for part in module.modules():
            if {parameter.requires_grad for parameter in part.parameters()} == {False}:
                for name, inner in part.named_modules():
                    found = f"{name} ({type(inner).__name__}) of frozen {type(part).__name__} is in train() mode"
                    remedy = "override train() and put what is frozen back into eval()"
                    require(not (inner.training and _changes_in_training(inner)), f"{found}: {remedy}")

    def require_alike(self, found: nn.Module, expected: nn.Module, what: str) -> None:
        """Raise Violation unless both have the same outputs, to the bit."""
        inputs = self.inputs(expected)
        require_same(self.outputs(found, *inputs), self.outputs(expected, *inputs), 0, what)

    @contract
    def state_survives_safetensors(self) -> None:
        """A new plugin that loads the state gives the same output; what `fit` found is in the state."""
        one, other = self.build(), self.unfitted()
        require_registered(one)
        copy_state(one, other)
        self.require_alike(other, one, "after loading the state")

    @contract
    def input_is_left_alone(self) -> None:
        """The plugin does not write into what it is given."""
        module = self.build().train()
        require_unwritten(lambda *inputs: self.outputs(module, *inputs), *self.inputs(module))

    @contract
    def runs_in_bfloat16(self) -> None:
        """Under autocast to bfloat16 (recipes' `precision: bf16`) output and gradients are finite."""
        module = self.build().train()
        with torch.autocast("cpu", torch.bfloat16):
            outputs = self.outputs(module, *self.inputs_in_bfloat16(module))
        require_finite(module, outputs, "under autocast to bfloat16")


def require_unwritten(call: Callable[..., Any], *inputs: Any, what: str = "the plugin") -> None:
    """Raise Violation if a call changes its inputs."""
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


def _changes_in_training(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    if isinstance(module, nn.RNNBase):
        return module.dropout > 0
    return isinstance(module, nn.modules.batchnorm._BatchNorm | nn.SyncBatchNorm)
