"""wav2vec 2.0, HuBERT, WavLM and data2vec as a level: fine-tuned, frozen, or frozen except for the top layers."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from toolkit.contracts import Seq
from toolkit_plugins.extractors import frontends
from toolkit_plugins.extractors import wav2vec2_steps as steps
from toolkit_plugins.extractors.checks import fraction
from toolkit_plugins.extractors.encoder import EncoderExtractor
from toolkit_plugins.extractors.wav2vec2_weights import architecture_settings, load

DROPOUTS = ("hidden_dropout", "activation_dropout", "attention_dropout")  # settings that `dropout` gives at once
BESIDE_CONFIG = ("mask_time_prob", "mask_feature_prob", "layerdrop")  # settings that are, or follow from, arguments


class Wav2Vec2(EncoderExtractor):
    """Frames of a self-supervised speech model: one of `hidden_size` channels every 20 ms.

    Exact under padding: a row of a padded batch comes out as if it had been alone, on base models ("group"
    normalisation of the first convolution) and large ones ("layer"). Waveforms shorter than 400 samples
    (25 ms) are lengthened with zeros. What is frozen from below (`tune`, `freeze_convolutions`) runs in
    `features`, which can be computed once; frozen parts are deterministic, also in train() mode.

    Args:
        source: a hub name such as facebook/wav2vec2-base-960h or microsoft/wavlm-base-plus, a folder as
            written by save_pretrained(), or "random" for random weights.
        architecture: architecture of a random model; a checkpoint has its own.
        config: values that replace those of the checkpoint's config.json (or, for a random model, of
            transformers' defaults), by transformers' names, such as {attention_dropout: 0.0}.
        freeze_convolutions: do not train the convolutional encoder if tune is "all".
        layer: the output: the "last" layer, one layer by its number (1 is the first), a "weighted" sum of all with
            learned softmax weights, or "all" side by side.
        normalize: scale waveforms to zero mean and unit variance first; null follows the checkpoint's
            preprocessor_config.json or processor_config.json.
        preemphasis: coefficient a of y[t] = x[t] - a x[t-1], before the normalisation; 0 is none.
        dropout: probability for hidden states, activations and attention in trained layers; null is the checkpoint's.
        layerdrop: probability of skipping a layer in training.
        spec_augment: hide spans of frames in training (needs tune: all).
        mask_time_prob: approximate share of frames that `spec_augment` hides; it hides at least 2 spans of 10 frames
            (`mask_time_min_masks` in `config`), so that in 3 s a value below 0.134 changes nothing.
        sample_rate: rate of the waveforms in Hz, which must be the checkpoint's.

    Raises: ValueError if an argument is out of range or does not fit another; RecipeError if `source`,
        `architecture` or `config` cannot be used; PluginError if the weights cannot be found or read.

    Source: wav2vec 2.0 (Baevski et al., NeurIPS 2020); HuBERT (Hsu et al., 2021); WavLM (Chen et al., 2022);
        data2vec (Baevski et al., ICML 2022); weighted sum as in SUPERB (Yang et al., 2021); adapters: LoRA (Hu et
        al., ICLR 2022).
    """

    def __init__(
        self,
        *,
        source: str = "facebook/wav2vec2-base-960h",
        architecture: Literal["wav2vec2", "hubert", "wavlm", "data2vec-audio"] = "wav2vec2",
        config: dict | None = None,
        revision: str | None = None,
        tune: Literal["all", "frozen", "top", "lora"] = "all",
        top_layers: int = 0,
        lora_rank: int = 8,
        lora_alpha: float = 16.0,
        lora_targets: list[str] | None = None,
        freeze_convolutions: bool = False,
        layer: Literal["last", "weighted", "all"] | int = "last",
        normalize: bool | None = None,
        preemphasis: float = 0.0,
        dropout: float | None = None,
        layerdrop: float = 0.0,
        spec_augment: bool = False,
        mask_time_prob: float = 0.05,
        gradient_checkpointing: bool = False,
        sample_rate: int = 16_000,
    ):
        super().__init__()
        fraction(layerdrop=layerdrop, mask_time_prob=mask_time_prob, preemphasis=preemphasis)
        if spec_augment and (tune != "all" or mask_time_prob == 0):
            raise ValueError(
                "spec_augment hides frames below the first layer: it needs tune: all and mask_time_prob > 0"
            )
        for name in BESIDE_CONFIG:
            if name in (config or {}):
                raise ValueError(
                    f"config may not hold {name}: spec_augment, mask_time_prob, layerdrop are arguments of their own"
                )
        # With probability 0 transformers makes no masking vector, which nothing would train.
        settings = dict(config or {}) | {
            "mask_time_prob": mask_time_prob if spec_augment else 0.0,
            "mask_feature_prob": 0.0,
        }
        if dropout is not None:
            fraction(dropout=dropout)
            for name in DROPOUTS:
                if settings.setdefault(name, dropout) != dropout:
                    raise ValueError(f"dropout is {dropout}, and {name} in config {settings[name]}: leave one out")
        loaded = load(
            source, architecture=architecture, config=settings, revision=revision, layer=layer, normalize=normalize
        )
        if loaded.sample_rate not in (None, sample_rate):
            raise ValueError(f"{source} needs audio at {loaded.sample_rate} Hz; audio.sample_rate is {sample_rate}")
        self.normalize = loaded.normalise if normalize is None else normalize
        self.preemphasis, self.spec_augment = preemphasis, spec_augment
        self._training_args = {"layerdrop": layerdrop, "recompute": gradient_checkpointing}
        self._freeze_convolutions = freeze_convolutions
        self.take(loaded.model, loaded.pretrained, layer)
        self.minimum_samples = steps.receptive_field(self.model.config.conv_kernel, self.model.config.conv_stride)
        self.tune(tune, top_layers, rank=lora_rank, alpha=lora_alpha, targets=lora_targets)

    def keep_layers(self, layer: str | int) -> None:
        """Remove what comes after the layer that is read."""
        encoder = self.model.encoder
        if isinstance(layer, int) and layer < len(self.layers):
            encoder.layers = encoder.layers[:layer]
            if self.model.config.do_stable_layer_norm:  # its norm comes after the last layer
                encoder.layer_norm = nn.Identity()

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The transformer layers, from below."""
        return self.model.encoder.layers

    @property
    def _fixed_convolutions(self) -> bool:
        return self._freeze_convolutions or self._fixed_layers is not None

    def linear_layers(self) -> list[str]:
        """As in the base class, but not WavLM's attention, which reads its weights without any adapter."""
        wavlm = self.model.config.model_type == "wavlm"
        past = [name for name, _ in self.layers[0].attention.named_children()] if wavlm else []
        return [name for name in super().linear_layers() if name not in past]

    @property
    def entrance(self) -> list[nn.Module]:
        """The convolutions, the projection and the positions."""
        model, encoder = self.model, self.model.encoder
        parts = [model.feature_extractor, model.feature_projection, encoder.pos_conv_embed, encoder.dropout]
        # the norm of "stable" models comes after the last layer
        return parts if model.config.do_stable_layer_norm else [*parts, encoder.layer_norm]

    @property
    def never_trained(self) -> list[nn.Module]:
        """The convolutions, if the recipe freezes them."""
        return [self.model.feature_extractor] if self._freeze_convolutions else []

    def portable_args(self) -> dict[str, Any]:
        """A random model with the whole configuration of this one."""
        settings = architecture_settings(self.model.config)
        return {
            **super().portable_args(),
            "architecture": self.model.config.model_type,
            "config": {name: value for name, value in settings.items() if name not in BESIDE_CONFIG},
            "normalize": self.normalize,
        }

    def frame_count(self, samples: int) -> int:
        """The number of frames: 149 for 48,000 samples."""
        config = self.model.config
        return steps.conv_frames(max(samples, self.minimum_samples), config.conv_kernel, config.conv_stride)

    @property
    def front_end_args(self) -> dict[str, Any]:
        """Everything that `features` depends on; weights by their SHA-256, computed when first read."""
        args = {
            "front_end": "wav2vec2",
            "version": steps.VERSION,
            "normalize": self.normalize,
            "preemphasis": self.preemphasis,
            "minimum_samples": self.minimum_samples,
        }
        if not self._fixed_convolutions:
            return args
        config = self.model.config
        weights = self.frozen_fingerprint({"model_type": config.model_type, **architecture_settings(config)})
        states = None if self._fixed_layers is None else list(self.kept_states())
        return args | {"layers": self._fixed_layers, "states": states, "weights": weights}

    def features(self, wave: Seq) -> Seq:
        """The normalised waveform through the frozen part of the model.

        Args: wave [batch, samples].
        Returns: with nothing frozen [batch, samples, 1], lengths in samples; with frozen convolutions
        [batch, frames, conv_dim]; with frozen layers [batch, frames, states * hidden_size]: the frozen states
        that are needed.
        """
        with torch.no_grad():
            wave = wave.zeroed()
            if self.preemphasis:
                values = frontends.pre_emphasis(wave.values, self.preemphasis)
                wave = Seq(values, wave.lengths, full=wave.full).zeroed()
            if self.normalize:
                wave = frontends.normalise(wave)
            wave = steps.lengthen(wave, self.minimum_samples)
            if not self._fixed_convolutions:
                return Seq(wave.values[:, :, None], wave.lengths, full=wave.full)
            frames = steps.convolve(self.model, wave)
            if self._fixed_layers is None:
                return frames
            states = self._run(steps.embed(self.model, frames), 0, self._fixed_layers)
            values = torch.cat([states[index] for index in self.kept_states()], dim=2)
            return Seq(values, frames.lengths, full=frames.full)

    def encode(self, features: Seq) -> Seq:
        """The features through the rest of the model: [batch, frames, channels]."""
        features = features.zeroed()
        if self._fixed_layers is not None:
            states = list(features.values.split(self.model.config.hidden_size, dim=2))
            entry, done = Seq(states.pop(), features.lengths, full=features.full), self._fixed_layers
        else:
            if not self._fixed_convolutions:
                wave = Seq(features.values[:, :, 0], features.lengths, full=features.full)
                features = steps.convolve(self.model, wave)
            states, entry, done = [], steps.embed(self.model, features, self._spans(features)), 0
        states += self._run(entry, done, len(self.layers), **self._training_args)
        return Seq(self.chosen(states), entry.lengths, full=entry.full)

    def _run(self, entry: Seq, start: int, stop: int, **training: Any) -> list[Tensor]:
        return [entry.values, *steps.transform(self.model, entry, start, stop, **training)]

    def _spans(self, frames: Seq) -> Tensor | None:
        if not (self.spec_augment and self.training):
            return None
        config = self.model.config
        return steps.spec_augment_spans(
            frames.lengths,
            frames=frames.values.shape[1],
            probability=config.mask_time_prob,
            span=config.mask_time_length,
            at_least=config.mask_time_min_masks,
        )
