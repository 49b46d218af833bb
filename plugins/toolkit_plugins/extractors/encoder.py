"""What extractors around a pre-trained transformer encoder share: frozen layers, adapters and the output."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from toolkit.contracts import Extractor
from toolkit_plugins.extractors.lora import BASE, MARK, add_adapters, merge_adapters
from toolkit_plugins.extractors.onednn_linear import use_onednn
from toolkit_plugins.extractors.sources import fingerprint

SIDE_BY_SIDE = ("all", "sublayers")  # values of `layer` that give the states of all layers


class EncoderExtractor(Extractor):
    """An extractor whose `model` is a transformer encoder, frozen from below.

    Subclasses call `take`, then `tune`, and implement `layers`, `keep_layers`, `entrance` and `never_trained`.

    Args:
        revision: branch, tag or commit on the hub; null is the main branch.
        tune: what is trained: "all" layers, none ("frozen"), the "top" ones, or adapters beside their linear layers
            ("lora", which needs peft).
        top_layers: number of transformer layers that `tune: top` trains.
        lora_rank: rank of each adapter's two matrices.
        lora_alpha: the output of an adapter is multiplied by lora_alpha / lora_rank.
        lora_targets: names of the linear layers of a transformer layer that get an adapter; null means all.
        gradient_checkpointing: recompute activations in the backward pass: less memory, a third more time.
    """

    standalone_args: Mapping[str, Any] = {"source": "random", "revision": None}
    model: nn.Module
    layer: str | int
    layer_weights: nn.Parameter | None
    layers: Sequence[nn.Module]  # the transformer layers, from below
    entrance: list[nn.Module]  # what comes before the layers
    never_trained: list[nn.Module]  # what is frozen even where all layers are trained

    def __init__(self):
        super().__init__()
        self._fingerprint: str | None = None
        self._merged: dict[str, Any] = {}
        self.register_load_state_dict_post_hook(_forget_fingerprint)

    def keep_layers(self, layer: str | int) -> None:
        """Remove what comes after the layer that is read."""
        raise NotImplementedError

    def take(self, model: nn.Module, pretrained: str | None, layer: str | int) -> None:
        """Take the model and the name of its weights; ValueError if the model has no layer of that number."""
        self.model, self.layer = model, layer
        self.pretrained, self.random_backbone = pretrained, pretrained is None
        use_onednn(model)
        count = len(self.layers)
        if isinstance(layer, int) and not 1 <= layer <= count:
            raise ValueError(f"layer is {layer}; this model has {count} layers, so 1 to {count}")
        self.keep_layers(layer)
        count = len(self.layers)
        self.states_of_a_layer = 2 if layer == "sublayers" else 1
        self.channels = model.config.hidden_size * (self.states_of_a_layer * count if layer in SIDE_BY_SIDE else 1)
        self.layer_weights = nn.Parameter(torch.zeros(count + 1)) if layer == "weighted" else None

    def chosen(self, states: Sequence[Tensor]) -> Tensor:
        """The output that `layer` chooses from the model's last states, each [batch, frames, channels]."""
        if self.layer_weights is not None:
            weights = self.layer_weights.softmax(0)
            return sum(weight * state for state, weight in zip(states, weights, strict=True))
        last = self.states_of_a_layer * len(self.layers) if self.layer in SIDE_BY_SIDE else 1
        return torch.cat(states[-last:], dim=2)

    def layer_parameters(self) -> list[list[nn.Parameter]]:
        """The weights by layer, those before the first layer first."""
        below = [parameter for part in self.entrance for parameter in part.parameters()]
        return [below, *(list(layer.parameters()) for layer in self.layers)]

    def kept_states(self) -> range:
        """The frozen states that `features` returns side by side, by number; state 0 enters the first layer."""
        last = self.states_of_a_layer * self._fixed_layers
        if self.layer == "weighted":
            return range(last + 1)
        if self.layer in SIDE_BY_SIDE:
            return range(min(1, last), last + 1)
        return range(last, last + 1)

    def linear_layers(self) -> list[str]:
        """Names of the linear layers within a transformer layer that can have an adapter."""
        names = [name for name, part in self.layers[0].named_modules() if isinstance(part, nn.Linear)]
        return list(dict.fromkeys(name.rpartition(".")[2] for name in names))

    def tune(self, tune: str, top_layers: int, *, rank: int, alpha: float, targets: Sequence[str] | None) -> None:
        """Train all layers, none ("frozen"), the `top` ones, or adapters ("lora"), once the model is complete.

        Raises: ValueError if `top_layers` does not fit `tune` or the number of layers; and as in `add_adapters`.
        """
        if tune != "top" and top_layers:
            raise ValueError(f"top_layers is {top_layers}, which goes with tune: top only; tune is {tune!r}")
        count = len(self.layers)
        if tune == "top" and not 1 <= top_layers <= count:
            raise ValueError(f"top_layers is {top_layers}; {count} layers are used, so 1 to {count}")
        self._adapted = tune == "lora"
        if self._adapted:
            known = self.linear_layers()
            add_adapters(self.layers, rank=rank, alpha=alpha, targets=targets, known=known)
        self._fixed_by_recipe = {"all": None, "lora": 0, "frozen": count, "top": count - top_layers}[tune]
        self.set_frozen(False)

    def set_frozen(self, frozen: bool) -> None:
        """Freeze the whole encoder, which then runs in `features`, or only what the recipe freezes."""
        self._fixed_layers = len(self.layers) if frozen else self._fixed_by_recipe
        self._fingerprint = None
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(MARK in name or not self._adapted)
        if self._fixed_layers is None:
            self._frozen = self.never_trained
        elif self._fixed_layers == len(self.layers):
            self._frozen = [self.model]
        else:
            self._frozen = [*self.entrance, *self.layers[: self._fixed_layers]]
        for part in self._frozen:
            part.requires_grad_(False)
        self.train()

    def merge(self) -> None:
        """Merge the adapters into the weights and remove them."""
        if self._adapted:
            merge_adapters(self.model)
            self._adapted, self._fingerprint, self._merged = False, None, {"tune": "all"}

    def merged_name(self, name: str) -> str | None:
        """The name without its adapter; None for an adapter's own matrices."""
        if not self._adapted:
            return name
        return None if MARK in name else name.replace(BASE, ".")

    def portable_args(self) -> dict[str, Any]:
        """Arguments that need no source of weights; merged adapters are not built again."""
        return {**self.standalone_args, **self._merged}

    def train(self, mode: bool = True) -> "EncoderExtractor":
        """As nn.Module's, but frozen parts stay in eval() mode: no dropout, no layerdrop."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def frozen_fingerprint(self, config: Mapping[str, Any]) -> str:
        """SHA-256 of what is frozen and of the configuration; computed when first read."""
        if self._fingerprint is None:
            frozen = {id(p) for part in self._frozen for p in (*part.parameters(), *part.buffers())}
            state = {k: v for k, v in self.model.state_dict(keep_vars=True).items() if id(v) in frozen}
            self._fingerprint = fingerprint(state, config)
        return self._fingerprint


def needed_layers(count: int, layer: str | int) -> int:
    """How many of a random model's `count` layers to build: none above the one that `layer` reads, except the next.

    With that one `keep_layers` also removes the norm after the last layer, as it does from the whole model.

    >>> needed_layers(24, 8), needed_layers(24, 24), needed_layers(24, "last")
    (9, 24, 24)
    """
    return min(count, layer + 1) if isinstance(layer, int) and layer >= 1 else count


def _forget_fingerprint(module: EncoderExtractor, _incompatible_keys: Any) -> None:
    module._fingerprint = None
