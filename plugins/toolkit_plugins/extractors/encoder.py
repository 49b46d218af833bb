"""What extractors around a pre-trained transformer encoder share: which layers are frozen, and what comes out."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from toolkit.contracts import Extractor
from toolkit_plugins.extractors.wav2vec2_weights import fingerprint


class EncoderExtractor(Extractor):
    """An extractor whose `model` is a transformer encoder, frozen from below.

    Subclasses call `tune` once the model is complete, and implement `layers` and `frozen_parts`.
    """

    model: nn.Module
    layer_weights: nn.Parameter | None

    def __init__(self):
        super().__init__()
        self._fingerprint: str | None = None
        self.register_load_state_dict_post_hook(_forget_fingerprint)

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The transformer layers, from below."""
        raise NotImplementedError

    def frozen_parts(self) -> list[nn.Module]:
        """What is frozen where `_fixed_layers` layers are, from below; None: the input to them is trained too."""
        raise NotImplementedError

    def tune(self, tune: str, top_layers: int) -> None:
        """Train all layers, none ("frozen"), or the `top` ones, once the model is complete.

        Raises:
            ValueError: if `top_layers` does not go with `tune` or with the number of layers.
        """
        if tune != "top" and top_layers:
            raise ValueError(f"top_layers is {top_layers}, which goes with tune: top only; tune is {tune!r}")
        count = len(self.layers)
        if tune == "top" and not 1 <= top_layers <= count:
            raise ValueError(f"top_layers is {top_layers}; {count} layers are used, so 1 to {count}")
        self._fixed_by_recipe = None if tune == "all" else count - top_layers
        self.set_frozen(False)

    def set_frozen(self, frozen: bool) -> None:
        """Freeze the whole encoder, which then belongs to `features`; or what the recipe freezes."""
        self._fixed_layers = len(self.layers) if frozen else self._fixed_by_recipe
        self._fingerprint = None
        self.model.requires_grad_(True)
        self._frozen = self.frozen_parts()
        for part in self._frozen:
            part.requires_grad_(False)
        self.train()

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


def weighted_sum(states: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Sum of states [batch, frames, channels], weighted by the softmax of as many weights."""
    return sum(weight * state for state, weight in zip(states, weights.softmax(0), strict=True))


def _forget_fingerprint(module: EncoderExtractor, _incompatible_keys: Any) -> None:
    module._fingerprint = None
