"""The opponent of gpu.py: the reference system, composed plainly from torchvision, torch and transformers."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torchaudio
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from transformers import Wav2Vec2Config, Wav2Vec2Model

DIM, CLASSES, LEARNING_RATE, MAX_NORM = 128, 4, 1e-5, 5.0


class PlainSystem(nn.Module):
    """Waveforms [batch, samples] -> logits [batch, classes] of the fused embedding and of each level.

    Args:
        samples: of a segment.
        image_size, pool: sizes of the spectrogram's image and feature map.
        hidden, layers: of the LSTM.
        config: of the wav2vec2 model, in addition to the settings here.
    """

    def __init__(
        self,
        samples: int,
        *,
        image_size: Sequence[int],
        pool: Sequence[int],
        hidden: int,
        layers: int,
        config: Mapping[str, Any],
    ):
        super().__init__()
        self.image_size, self.pool = tuple(image_size), tuple(pool)
        self.frames = samples // 160
        self.spectrogram = nn.Sequential(
            torchaudio.transforms.Spectrogram(800, 640, 160, window_fn=torch.hamming_window),
            torchaudio.transforms.AmplitudeToDB("power", top_db=80),
        )
        mel = {"n_fft": 2048, "hop_length": 160, "n_mels": 128, "mel_scale": "htk"}
        self.mfcc = torchaudio.transforms.MFCC(16_000, 40, melkwargs=mel)
        self.alexnet = torchvision.models.alexnet(weights=None).features
        dropout = 0.5 if layers > 1 else 0.0
        self.lstm = nn.LSTM(40, hidden, layers, batch_first=True, bidirectional=True, dropout=dropout)
        # No masks and no skipped layers, as in the benchmark's recipe.
        config = Wav2Vec2Config(**{"apply_spec_augment": False, "layerdrop": 0.0, **config})
        self.wav2vec2 = Wav2Vec2Model(config)
        steps = int(self.wav2vec2._get_feat_extract_output_lengths(samples))
        self.of_image = _projection(256 * pool[0] * pool[1])
        self.of_frames = _projection(self.frames * 2 * hidden)
        self.weigh = _projection(2 * DIM, steps)
        self.of_states = _projection(config.hidden_size)
        self.fuse = _projection(3 * DIM)
        self.heads = nn.ModuleList(
            nn.Sequential(_projection(DIM), nn.Linear(DIM, CLASSES))
            for _ in range(4)  # fused and each level
        )

    def forward(self, wave: Tensor) -> list[Tensor]:
        """The logits of all heads."""
        with torch.no_grad(), torch.autocast(wave.device.type, enabled=False):
            decibels = self.spectrogram(wave)[:, None, :200, : self.frames] / 80
            coefficients = functional.normalize(self.mfcc(wave)[:, :, : self.frames].transpose(1, 2), dim=2)
            image = functional.interpolate(decibels, self.image_size, mode="bilinear", antialias=True)
        maps = functional.adaptive_avg_pool2d(self.alexnet(image.expand(-1, 3, -1, -1)), self.pool)
        of_image = self.of_image(maps.flatten(1))
        of_frames = self.of_frames(self.lstm(coefficients)[0].flatten(1))
        states = self.wav2vec2(wave).last_hidden_state  # [batch, frames, hidden_size]
        weights = self.weigh(torch.cat([of_image, of_frames], dim=1))
        of_states = self.of_states((weights[:, :, None] * states).sum(dim=1))
        fused = self.fuse(torch.cat([of_image, of_frames, of_states], dim=1))
        return [head(one) for head, one in zip(self.heads, (fused, of_image, of_frames, of_states), strict=True)]


def _projection(size: int, out: int = DIM) -> nn.Sequential:
    return nn.Sequential(nn.Dropout(0.1), nn.Linear(size, out), nn.ReLU())


class PlainTraining:
    """A PlainSystem with torch's own AdamW and its defaults.

    Args:
        system: the model to train.
        waves: batches of waveforms in the CPU's pinned memory, with their targets; taken in turn.
        device: where it trains.
        bf16: whether it trains under autocast to bfloat16.
    """

    def __init__(self, system: PlainSystem, waves: Sequence[tuple[Tensor, Tensor]], device: str, *, bf16: bool):
        self.system, self.waves, self.device = system.to(device).train(), waves, device
        self.optimizer = torch.optim.AdamW(self.system.parameters(), lr=LEARNING_RATE)
        self.context = torch.autocast(device, torch.bfloat16) if bf16 else nullcontext()
        self.steps = 0

    def step(self) -> Tensor:
        """Take one step; returns its loss, on the device."""
        wave, targets = (t.to(self.device, non_blocking=True) for t in self.waves[self.steps % len(self.waves)])
        self.steps += 1
        with self.context:
            loss = plain_loss(self.system, wave, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(self.system.parameters(), MAX_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()


def plain_loss(system: PlainSystem, wave: Tensor, targets: Tensor) -> Tensor:
    """The sum of the heads' cross entropies."""
    return sum(functional.cross_entropy(logits.float(), targets) for logits in system(wave))
