"""Properties that all plugins with parameters share, and what is needed to state them."""

import contextlib
import inspect
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import safetensors.torch
import torch
from torch import Tensor, nn

from toolkit.contracts import Seq
from toolkit.plugins.kinds import KINDS
from toolkit.plugins.signatures import read_arguments
from toolkit.testing.findings import plugin_class, require

GARBAGE = (float("nan"), float("inf"), 1e4)
TRIALS = 3


def relative_error(found: Tensor, expected: Tensor, *, scale: float = 0.0) -> float:
    """Largest absolute difference over the largest absolute value that was expected (or `scale`, if larger).

    >>> relative_error(torch.tensor([1.0, 4.5]), torch.tensor([1.0, 4.0]))
    0.125
    """
    require(found.shape == expected.shape, f"shape {list(found.shape)} where {list(expected.shape)} is expected")
    if found.numel() == 0 or torch.equal(found, expected):
        return 0.0
    found, expected = found.detach().double(), expected.detach().double()
    difference = float((found - expected).abs().max())
    largest = max(float(expected.abs().max()), scale, 1e-30)
    return difference / largest if difference == difference else float("inf")


def require_equal(found: Tensor, expected: Tensor, tolerance: float, what: str, *, scale: float = 0.0):
    """Raise Violation where the relative error exceeds the tolerance; a NaN is never equal."""
    error = relative_error(found, expected, scale=scale)
    require(error <= tolerance, f"{what}: relative error {error:.2g}, allowed {tolerance:g}")


def with_garbage(seq: Seq, garbage: float) -> Seq:
    """The same with `garbage` beyond the lengths."""
    mask = seq.mask if seq.values.dim() == 2 else seq.mask[:, :, None]
    return Seq(seq.values.masked_fill(~mask, garbage), seq.lengths)


def row(seq: Seq, index: int, *, cut: bool = True) -> Seq:
    """One row alone, without padding, which it says; with its padding where `cut` is false."""
    length = int(seq.lengths[index])
    values = seq.values[index : index + 1]
    return Seq(values[:, :length] if cut else values, seq.lengths[index : index + 1], full=cut)


def pad_together(rows: Sequence[Seq], *, extra: int = 0, garbage: float = 0.0) -> Seq:
    """Rows of one each as a batch, padded with `garbage` to the longest and `extra` steps more."""
    longest = max(int(r.lengths[0]) for r in rows) + extra
    values = rows[0].values.new_full((len(rows), longest, *rows[0].values.shape[2:]), garbage)
    for i, r in enumerate(rows):
        values[i, : int(r.lengths[0])] = r.values[0, : int(r.lengths[0])]
    return Seq(values, torch.cat([r.lengths for r in rows]))


def copy_state(source: nn.Module, target: nn.Module) -> None:
    """Carry the state over as a bundle does: safetensors bytes, loaded strictly."""
    state = source.state_dict()
    odd = [name for name, value in state.items() if not isinstance(value, Tensor)]
    require(not odd, f"state_dict() holds {odd}, which are no tensors: safetensors cannot keep them")
    stored = safetensors.torch.save({name: value.contiguous().clone() for name, value in state.items()})
    target.load_state_dict(safetensors.torch.load(stored))


@contextlib.contextmanager
def watched_network() -> Iterator[list[str]]:
    """No name is looked up and nothing is connected to inside; yields what was tried."""
    attempts: list[str] = []

    def refuse(*args: Any, **options: Any):
        attempts.append(str(next((arg for arg in args if not isinstance(arg, socket.socket)), "an address")))
        raise OSError("no network while portable_args are tried")

    with mock.patch("socket.getaddrinfo", refuse), mock.patch("socket.socket.connect", refuse):
        yield attempts


def require_same_state(module: nn.Module, before: Mapping[str, Tensor], what: str) -> None:
    """Raise Violation where a tensor of the state is not, to the bit, what it was."""
    for name, value in module.state_dict().items():
        require(torch.equal(value, before[name]), f"{name} {what}")


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """A copy of the state."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def require_gradients(module: nn.Module, loss: Callable[[], Tensor]) -> None:
    """Every trained parameter gets a finite gradient that is not zero in all of some trials; no other gets one.

    Args: loss: makes a scalar from random inputs; called a few times in train() mode.
    """
    module.train()
    reached: dict[str, bool] = {}
    for trial in range(TRIALS):
        torch.manual_seed(trial)
        module.zero_grad(set_to_none=True)
        value = loss()
        trained = {n: p for n, p in module.named_parameters() if p.requires_grad}
        if not trained and not value.requires_grad:
            return
        value.backward()
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                require(parameter.grad is None or parameter.grad.isfinite().all(), f"{name}.grad is not finite")
                reached[name] = reached.get(name, False) or bool(parameter.grad is not None and parameter.grad.any())
            else:
                require(parameter.grad is None, f"{name} is frozen and has a gradient")
    lost = [name for name, ok in reached.items() if not ok]
    require(
        not lost,
        f"no gradient reaches {', '.join(lost[:5])}{' ...' if len(lost) > 5 else ''}; "
        "freeze what is not trained (requires_grad_(False)), or leave it out",
    )


def require_frozen_modules_in_eval(module: nn.Module) -> None:
    """After train(), modules all of whose parameters are frozen hold no active dropout or running statistics."""
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


def _changes_in_training(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    if isinstance(module, nn.RNNBase):
        return module.dropout > 0
    return isinstance(module, nn.modules.batchnorm._BatchNorm | nn.SyncBatchNorm)


def require_documented_arguments(make: Callable, kind: str) -> None:
    """The class's constructor takes annotated keyword-only arguments, each explained under Args in its docstring.

    Nothing is asked where `make` is no class (nor functools.partial of one).
    """
    cls = plugin_class(make)
    if cls is None or cls.__init__ in (object.__init__, nn.Module.__init__):
        return
    for name, parameter in list(inspect.signature(cls).parameters.items()):
        require(
            parameter.kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD),
            f"constructor argument {name!r} can be given by position: write it after `*`",
        )
    for argument in read_arguments(cls, KINDS[kind].context):
        if not argument.given:
            require(argument.annotation is not Any, f"constructor argument {argument.name!r} has no annotation")
            require(argument.meaning, f"{argument.name!r} is not explained under Args in the class's docstring")
