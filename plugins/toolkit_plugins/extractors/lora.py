"""Low-rank adapters beside the linear layers of a transformer, by the peft library.

Source: Hu et al., "LoRA: Low-rank adaptation of large language models", ICLR 2022, arXiv 2106.09685.
"""

import math
from collections.abc import Sequence

from torch import nn

from toolkit.errors import PluginError, RecipeError, did_you_mean
from toolkit_plugins.extractors.checks import at_least

MARK = "lora_"  # in the name of every parameter of an adapter
BASE = ".base_layer."  # in the name of every parameter of a layer beside one


def add_adapters(
    layers: nn.Module, *, rank: int, alpha: float, targets: Sequence[str] | None, known: Sequence[str]
) -> None:
    """Put an adapter beside linear layers, in place; at first it changes nothing.

    Args: rank: that of an adapter's two matrices; alpha: its output is multiplied by alpha / rank; targets: names of
        linear layers, None for all `known` ones.
    Raises: ValueError if rank or alpha is out of range; RecipeError for an unknown target; PluginError without peft.
    """
    at_least(1, lora_rank=rank)
    if not 0 < alpha < math.inf:
        raise ValueError(f"lora_alpha is {alpha}; it has to be a number above 0")
    if targets is not None and not targets:
        raise RecipeError(f"lora_targets is empty; null means all: {', '.join(known)}")
    for name in targets or ():
        if name not in known:
            raise RecipeError(
                f"lora_targets: no linear layer {name!r} can have an adapter here.{did_you_mean(name, known)} Known: "
                f"{', '.join(known)}"
            )
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise PluginError(
            "tune: lora needs peft, which is not installed: pip install 'audio-classification-toolkit[lora]'"
        ) from None
    chosen = list(targets or known)
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=chosen), layers)


def merge_adapters(model: nn.Module) -> None:
    """Add what each adapter has learned to the weights of its linear layer, and remove it."""
    for parent in list(model.modules()):
        for name, part in list(parent.named_children()):
            if hasattr(part, "get_base_layer"):
                part.merge()
                setattr(parent, name, part.get_base_layer())
