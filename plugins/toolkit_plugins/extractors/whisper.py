"""Whisper's encoder as a level: frozen, fine-tuned, or frozen except for the top layers."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from toolkit.contracts import Seq
from toolkit_plugins.extractors import whisper_steps as steps
from toolkit_plugins.extractors.checks import fraction
from toolkit_plugins.extractors.encoder import EncoderExtractor
from toolkit_plugins.extractors.whisper_weights import encoder_settings, load


class Whisper(EncoderExtractor):
    """Frames of Whisper's encoder: one every 20 ms. The decoder is never loaded.

    Positions and attention are cut to the real length plus half a second of silence, so that a short segment costs
    little; an input of 30 s gives the output of transformers' encoder. Segments of more than 30 s are refused. What
    is frozen from below (`tune`) runs in `features`, which can be computed once.

    Args:
        source: a hub name such as openai/whisper-tiny.en or openai/whisper-large-v3, a folder as written by
            save_pretrained() (the whole model or the encoder alone), or "random" for random weights.
        config: values that replace those of the checkpoint's config.json (or, for a random model, of transformers'
            defaults), by transformers' names, such as {encoder_layers: 2}.
        layer: the output: the "last" layer after its normalisation, one layer by its number (1 is the first), a
            "weighted" sum of all with learned softmax weights, "all" side by side, or "sublayers": the output of
            each layer's attention and of the layer, of all layers, side by side.
        dropout: probability for hidden states, activations and attention in trained layers.
        normalize: scale each segment to a root mean square of 0.05 first: loudness changes Whisper's output.
        sample_rate: rate of the waveforms in Hz, which must be 16,000.
        segment_samples: longest segment, in samples.

    Raises: ValueError if an argument is out of range or does not fit another; RecipeError if `source` or `config`
        cannot be used; PluginError if the weights cannot be found or read.

    Source: Radford et al., "Robust speech recognition via large-scale weak supervision", 2022, arXiv 2212.04356;
        weighted sum as in SUPERB (Yang et al., 2021); adapters: LoRA (Hu et al., ICLR 2022).
    """

    def __init__(
        self,
        *,
        source: str = "openai/whisper-tiny.en",
        config: dict | None = None,
        revision: str | None = None,
        tune: Literal["all", "frozen", "top", "lora"] = "frozen",
        top_layers: int = 0,
        lora_rank: int = 8,
        lora_alpha: float = 16.0,
        lora_targets: list[str] | None = None,
        layer: Literal["last", "weighted", "all", "sublayers"] | int = "all",
        dropout: float = 0.0,
        gradient_checkpointing: bool = False,
        normalize: bool = False,
        sample_rate: int = 16_000,
        segment_samples: int = 48_000,
    ):
        super().__init__()
        fraction(dropout=dropout)
        if sample_rate != steps.RATE:
            raise ValueError(f"Whisper takes audio at {steps.RATE} Hz; audio.sample_rate is {sample_rate}")
        seconds, needed = segment_samples / steps.RATE, steps.positions(segment_samples)
        if segment_samples > steps.LONGEST:
            raise ValueError(f"Whisper takes 30 s at most; segments have {seconds:g} s: set audio.segment_seconds: 30")
        loaded = load(source, config=config or {}, dropout=dropout, revision=revision, layer=layer)
        if needed > (given := loaded.model.config.max_source_positions):
            raise ValueError(
                f"config: max_source_positions is {given}; segments of {seconds:g} s and the silence after them need "
                f"{needed}: raise it, or lower audio.segment_seconds"
            )
        self.normalize, self._recompute = normalize, gradient_checkpointing
        self.take(loaded.model, loaded.pretrained, layer)
        self.register_buffer("filters", loaded.filters, persistent=False)
        self.tune(tune, top_layers, rank=lora_rank, alpha=lora_alpha, targets=lora_targets)

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The transformer layers, from below."""
        return self.model.layers

    def keep_layers(self, layer: str | int) -> None:
        """Remove what comes after the layer that is read."""
        if isinstance(layer, int):
            self.model.layers = self.model.layers[:layer]
        if layer != "last":
            self.model.layer_norm = nn.Identity()

    @property
    def entrance(self) -> list[nn.Module]:
        """The convolutions and the positions."""
        return [self.model.conv1, self.model.conv2, self.model.embed_positions]

    @property
    def never_trained(self) -> list[nn.Module]:
        """The positions: they are sines."""
        return [self.model.embed_positions]

    def portable_args(self) -> dict[str, Any]:
        """A random encoder with the configuration of this one."""
        return {**super().portable_args(), "config": encoder_settings(self.model.config)}

    def frame_count(self, samples: int) -> int:
        """The number of frames: 150 for 48,000 samples."""
        return steps.frame_count(samples)

    @property
    def front_end_args(self) -> dict[str, Any]:
        """Everything that `features` depends on; weights by their SHA-256, computed when first read."""
        args = {"front_end": "whisper", "version": steps.VERSION, "bands": self.model.config.num_mel_bins}
        args |= {"normalize": True} if self.normalize else {}
        if self._fixed_layers is None:
            return args
        states, weights = list(self.kept_states()), self.frozen_fingerprint(encoder_settings(self.model.config))
        return args | {"layers": self._fixed_layers, "states": states, "weights": weights}

    def features(self, wave: Seq) -> Seq:
        """The log-mel spectrogram through the frozen part of the encoder.

        Args: wave [batch, samples].
        Returns: with nothing frozen [batch, frames, bands], lengths in frames of 10 ms; else [batch, frames,
        states * channels] in frames of 20 ms: the frozen states that are needed. Half a second of silence follows
        the audio.
        """
        with torch.no_grad():
            mel = steps.log_mel(steps.equally_loud(wave) if self.normalize else wave, self.filters)
            if self._fixed_layers is None:
                return mel
            entry = steps.embed(self.model, mel)
            states = [entry.values, *self._transform(entry, 0, self._fixed_layers)]
            if self._fixed_layers == len(self.layers):
                states[-1] = self.model.layer_norm(states[-1])
            kept = [states[index] for index in self.kept_states()]
            return Seq(torch.cat(kept, dim=2), entry.lengths, full=entry.full)

    def encode(self, features: Seq) -> Seq:
        """The features through the rest of the encoder: [batch, frames, channels], without the silence at the end."""
        if self._fixed_layers == len(self.layers) and self.layer_weights is None:
            return _without_silence(features)
        features = features.zeroed()  # NaN beyond the lengths would reach the gradients
        if self._fixed_layers is None:
            entry = steps.embed(self.model, features)
            states, done = [entry.values], 0
        else:
            entry, done = features, self._fixed_layers
            states = list(features.values.split(self.model.config.d_model, dim=2))
        start = Seq(states[-1], entry.lengths, full=entry.full)
        states += self._transform(start, done, len(self.layers))
        values = self.chosen(states)
        if self.layer == "last":
            values = self.model.layer_norm(values)
        return _without_silence(Seq(values, entry.lengths, full=entry.full))

    def _transform(self, entry: Seq, start: int, stop: int) -> list[Tensor]:
        sublayers = self.layer == "sublayers"
        return steps.transform(self.model, entry, start, stop, sublayers=sublayers, recompute=self._recompute)


def _without_silence(frames: Seq) -> Seq:
    """Drop the frames of the silence that follows the audio."""
    kept = max(1, steps.audible(frames.values.shape[1]))
    lengths = steps.audible(frames.lengths).clamp(min=1)
    return Seq(frames.values[:, :kept], lengths, full=frames.full)
