"""Extractor `resemblyzer`: a pre-trained speaker encoder, frozen; all of it is front end."""

from importlib.metadata import version
from typing import Any, Literal

import torch
from torch.nn.utils.rnn import pad_sequence

from resemblyzer_plugin import front_end
from resemblyzer_plugin.network import LAYERS, SIZE, SpeakerNetwork
from toolkit.contracts import Extractor, Seq


class Resemblyzer(Extractor):
    """The speaker encoder of resemblyzer, frozen: embeddings of windows of 1.6 s, or states of a layer.

    It was trained to tell speakers apart, so its embeddings encode who speaks, its lower layers more of how. Nothing
    in it is trained here: `features` is all of it, computed once and kept. A row does not depend on its padding.

    Args:
        output: embeddings (of windows, as resemblyzer gives them) or states (of `layer`, after each frame of 10 ms).
        layer: which of the three, from below, gives the states.
        step: frames from one window to the next (resemblyzer: 77), or from one state that is kept to the next.
        raise_level: bring segments quieter than -30 dB of full scale to that level first, as in its training.

    Raises:
        ValueError: for a value out of range, or a sample rate other than 16 kHz.
        PluginError: if the weights are not installed.

    Source: Wan et al., Generalized end-to-end loss for speaker verification, ICASSP 2018; weights: resemblyzer 0.1.4.
    """

    def __init__(
        self,
        *,
        sample_rate: int = 16_000,
        output: Literal["embeddings", "states"] = "embeddings",
        layer: int = 3,
        step: int = 40,
        raise_level: bool = True,
    ):
        super().__init__()
        if sample_rate != front_end.SAMPLE_RATE:
            raise ValueError(f"audio.sample_rate is {sample_rate}; the speaker encoder was trained at 16000 Hz")
        if output not in ("embeddings", "states"):
            raise ValueError(f"output is {output!r}; known: embeddings, states")
        if not 1 <= layer <= LAYERS:
            raise ValueError(f"layer is {layer}; the encoder has layers 1 to {LAYERS}")
        if output == "embeddings" and layer != LAYERS:
            raise ValueError(f"layer is {layer}, which goes with output: states; embeddings are of the last layer")
        if not 1 <= step <= front_end.PARTIAL_FRAMES:
            raise ValueError(f"step is {step}; it has to be 1 to {front_end.PARTIAL_FRAMES} frames, a window's length")
        self.output, self.layer, self.step, self.raise_level = output, layer, step, raise_level
        self.network = SpeakerNetwork()
        self.channels = SIZE
        self.pretrained = f"resemblyzer {version('resemblyzer')}"

    @property
    def front_end_args(self) -> dict[str, Any]:
        """All that `features` depends on, the weights by their SHA-256."""
        return {
            "front_end": "resemblyzer",
            "output": self.output,
            "layer": self.layer,
            "step": self.step,
            "raise_level": self.raise_level,
            "weights": self.network.fingerprint(),
        }

    def frame_count(self, samples: int) -> int:
        """Windows, or states that are kept."""
        if self.output == "embeddings":
            return front_end.window_count(samples, step=self.step)
        return -(-front_end.frame_count(samples) // self.step)

    def features(self, wave: Seq) -> Seq:
        """Embeddings or states.

        Args: wave [batch, samples].
        Returns: [batch, frame_count(samples), 256].
        """
        with torch.no_grad(), torch.autocast(wave.values.device.type, enabled=False):
            if self.raise_level:
                wave = front_end.raised(wave)
            if self.output == "states":
                return self._states(front_end.mel_power(wave))
            windows, counts = front_end.windows(wave, step=self.step)
            embeddings = self.network.embed(windows)  # [windows of all rows, 256]
            lengths = torch.tensor(counts, device=wave.lengths.device)
            return Seq(pad_sequence(embeddings.split(counts), batch_first=True), lengths)

    def encode(self, features: Seq) -> Seq:
        """The features as they are."""
        return features

    def _states(self, mels: Seq) -> Seq:
        # A state depends on the frames before it alone, so what lies beyond a row's length changes none of the row.
        kept = self.network.states(mels.values, self.layer)[:, :: self.step]
        return Seq(kept, torch.div(mels.lengths + self.step - 1, self.step, rounding_mode="floor"))
