"""The contract that all plugins with parameters share, and what their suites compare with."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import safetensors.torch
import torch
from torch import Tensor, nn

from toolkit.contracts import Seq
from toolkit.testing import Case, contract, require

TRIALS = 3
Values = Tensor | Seq
GARBAGE = (float("nan"), float("inf"), 1e4)


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

    def outputs(self, module: nn.Module, *inputs: Any) -> dict[str, Values]:
        """The module's outputs for these inputs, by name."""
        made = module(*inputs)
        return made if isinstance(made, Mapping) else {"output": made}

    def trained_pass(self, module: nn.Module) -> tuple[Mapping[str, Values], Mapping[str, Tensor]]:
        """The outputs for random inputs, and those inputs that need a gradient, by name."""
        inputs = self.inputs(module)
        reached = {f"input {i}": given.requires_grad_() for i, given in enumerate(inputs) if given.is_floating_point()}
        return self.outputs(module, *inputs), reached

    @contract
    def gradients_reach_what_is_trained(self) -> None:
        """Trained parameters and inputs get a finite gradient that is not always zero."""
        module = self.build().train()
        reached: dict[str, bool] = {}
        for _ in range(TRIALS):
            for name, tensor in backward(module, *self.trained_pass(module), "of random inputs").items():
                moved = tensor.grad is not None and bool(tensor.grad.any())
                reached[name] = reached.get(name, not tensor.requires_grad) or moved
        lost = [name for name, ok in reached.items() if not ok]
        found = f"no gradient reaches {', '.join(lost[:5])}{' ...' if len(lost) > 5 else ''}"
        require(not lost, f"{found}; freeze what is not trained (requires_grad_(False)), or leave it out")

    @contract
    def batch_equals_alone(self) -> None:
        """A row has the same result in a batch as alone, without padding."""
        module = self.build()
        inputs = self.inputs(module)
        batch = self.outputs(module, *inputs)
        lengths = [tensor.tolist() for tensor in tensors_in(inputs) if tensor.dtype == torch.int64]
        cut = getattr(module, "fixed_samples", None) is None  # else rows keep the only length that it takes
        for index in range(len(next(tensors_in(inputs)))):
            alone = self.outputs(module, *(row(given, index, cut=cut) for given in inputs))
            for name, expected in alone.items():
                what = f"{name} of row {index} of a batch{f' of lengths {lengths}' if lengths else ''}, against alone"
                scale = 0.01 * float(real(batch[name]).detach().abs().max())
                require_equal(row(batch[name], index, cut=False), expected, self.tolerance, what, scale=scale)

    @contract
    def evaluation_is_deterministic(self) -> None:
        """A second pass in eval() mode gives the same result, to the bit."""
        module = self.build()
        self.require_alike(module, module, "of a second pass in eval() mode")

    def require_alike(self, found: nn.Module, expected: nn.Module, what: str) -> None:
        """Raise Violation unless both have the same outputs, to the bit."""
        inputs = self.inputs(expected)
        require_equal(self.outputs(found, *inputs), self.outputs(expected, *inputs), 0, what)

    @contract
    def state_survives_safetensors(self) -> None:
        """A new plugin that loads the state gives the same output; what `fit` found is in the state."""
        one, other = self.build(), self.unfitted()
        for part in one.modules():  # of its own package: torch's keep what they need
            if type(part).__module__.partition(".")[0] == type(one).__module__.partition(".")[0]:
                plain = [name for name, value in vars(part).items() if isinstance(value, Tensor)]
                found = f"`{', '.join(plain)}` is a tensor that is neither a parameter nor a buffer"
                require(not plain, f"{found}: use register_buffer, or bundles and other devices do not get it")
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
            outputs = self.outputs(module, *self.inputs(module))
        backward(module, outputs, {}, "under autocast to bfloat16")


def require_unwritten(call: Callable[..., Any], *inputs: Any, what: str = "the plugin") -> None:
    """Raise Violation if a call changes its inputs."""
    before = [tensor.clone() for tensor in tensors_in(inputs)]
    call(*inputs)
    require(all(map(torch.equal, tensors_in(inputs), before)), f"{what} writes into its input")


def backward(
    module: nn.Module, outputs: Mapping[str, Values], inputs: Mapping[str, Tensor], what: str
) -> dict[str, Tensor]:
    """Parameters and inputs by name, after a backward pass from a random sum of the outputs; all has to be finite."""
    total = torch.zeros(())
    for name, output in outputs.items():
        require(real(output).isfinite().all(), f"{name} {what} is not finite")
        total = total + (real(output).float() * torch.randn(real(output).shape)).sum()
    if total.requires_grad:
        total.backward()
    tensors = {**dict(module.named_parameters()), **inputs}
    for name, tensor in tensors.items():
        require(tensor.grad is None or tensor.grad.isfinite().all(), f"{name}.grad {what} is not finite")
    return tensors


def require_equal(
    found: Any, expected: Values | Mapping[str, Values], tolerance: float, what: str, *, scale: float = 0.0
) -> None:
    """Raise Violation if shapes differ, values are not finite, or the relative error exceeds the tolerance.

    For a Seq, lengths are compared, and values up to them. The error is the largest absolute difference over the
    largest absolute value expected, or `scale` if that is larger.
    """
    if isinstance(expected, Mapping):
        for name, value in expected.items():
            require_equal(found[name], value, tolerance, f"{name!r} {what}")
        return
    if isinstance(expected, Seq):
        lengths = expected.lengths.tolist()
        require(found.lengths.tolist() == lengths, f"{what}: lengths {found.lengths.tolist()} against {lengths}")
        found, expected = (seq.zeroed().values[:, : max(lengths)] for seq in (found, expected))
    same = found.shape == expected.shape
    require(same, f"{what}: shape {list(found.shape)} where {list(expected.shape)} is expected")
    if found.numel() == 0 or torch.equal(found, expected):
        return
    found, expected = found.detach().double(), expected.detach().double()
    require(expected.isfinite().all(), f"{what}: not finite")
    errors = (found - expected).abs().nan_to_num(nan=math.inf, posinf=math.inf)
    errors /= max(float(expected.abs().max()), scale, 1e-30)
    steps = (errors > tolerance).any(dim=2).any(dim=0).nonzero().flatten().tolist() if errors.dim() == 3 else []
    where = f", in frames {steps[0]} to {steps[-1]} of {errors.shape[1]}" if steps else ""
    require((errors <= tolerance).all(), f"{what}: relative error {errors.max():.2g}, allowed {tolerance:g}{where}")


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in a Tensor, a Seq, or mappings and tuples of those."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Seq):
        yield from (value.values, value.lengths)
    else:
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from tensors_in(each)


def row(given: Any, index: int, *, cut: bool = True) -> Any:
    """One row alone, of values or mappings of them: without its padding and marked as full, or with it if not `cut`."""
    if isinstance(given, Mapping):
        return {name: row(each, index, cut=cut) for name, each in given.items()}
    if isinstance(given, Tensor):
        return given[index : index + 1]
    values, lengths = given.values[index : index + 1], given.lengths[index : index + 1]
    return Seq(values[:, : int(lengths)] if cut else values, lengths, full=cut)


def real(values: Values) -> Tensor:
    """Values, with zeros beyond the lengths of a Seq."""
    return values.zeroed().values if isinstance(values, Seq) else values


def copy_state(source: nn.Module, target: nn.Module) -> None:
    """Carry the state over as a bundle does: safetensors bytes, loaded strictly."""
    stored = safetensors.torch.save({name: value.clone() for name, value in source.state_dict().items()})
    target.load_state_dict(safetensors.torch.load(stored))
