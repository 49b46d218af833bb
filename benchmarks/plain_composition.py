"""The multi-level system as a plain script would compose it, without the toolkit: the opponent of full_system.py.

torchvision's AlexNet, nn.LSTM, transformers' Wav2Vec2Model, co-attention (Zou et al., ICASSP 2022), a head on every
level, center loss (Wen et al., ECCV 2016), AdamW. Everything is trained. The inputs were computed beforehand and are in
memory.

    python benchmarks/plain_composition.py INPUTS.pt     # trains an epoch for each line of standard input
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import alexnet
from transformers import Wav2Vec2Config, Wav2Vec2Model

LEVELS = ("spectrogram", "mfcc", "wav2vec2")
HEADS = ("emotion", *LEVELS)
CLASSES, DIM = 4, 128
CENTER_WEIGHT, CENTER_RATE = 0.003, 0.5


def layer(size: int, dim: int, dropout: float) -> nn.Sequential:
    """Dropout, linear, ReLU."""
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(size, dim), nn.ReLU())


class PlainComposition(nn.Module):
    """Image, MFCC and waveform -> logits of four heads, and the fused embedding.

    Args:
        dropout: whether it has dropout: .1 everywhere, .5 in the LSTM.
    """

    def __init__(self, *, dropout: bool = True):
        super().__init__()
        p = 0.1 if dropout else 0.0
        self.alexnet = alexnet().features
        self.pool = nn.AdaptiveAvgPool2d(6)
        self.lstm = nn.LSTM(40, 256, 2, batch_first=True, bidirectional=True, dropout=0.5 if dropout else 0.0)
        config = Wav2Vec2Config(mask_time_prob=0.0, layerdrop=0.0)
        config.hidden_dropout = config.activation_dropout = config.attention_dropout = p
        self.wav2vec2 = Wav2Vec2Model(config)
        self.spectrogram = layer(256 * 6 * 6, DIM, p)
        self.mfcc = layer(300 * 512, DIM, p)
        self.weigh = layer(2 * DIM, 149, p)
        self.frames = layer(768, DIM, p)
        self.fuse = layer(3 * DIM, DIM, p)
        self.heads = nn.ModuleDict({n: nn.Sequential(*layer(DIM, DIM, p), nn.Linear(DIM, CLASSES)) for n in HEADS})

    def forward(self, image: Tensor, mfcc: Tensor, wave: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """[batch, 3, 256, 384], [batch, 300, 40], [batch, 48000] -> logits by head, fused [batch, DIM]."""
        s = self.spectrogram(self.pool(self.alexnet(image)).flatten(1))
        m = self.mfcc(self.lstm(mfcc)[0].flatten(1))
        weights = self.weigh(torch.cat([s, m], dim=1))  # [batch, 149]
        w = self.wav2vec2(wave).last_hidden_state  # [batch, 149, 768]
        w = self.frames(torch.bmm(weights[:, None], w)[:, 0])
        fused = self.fuse(torch.cat([s, m, w], dim=1))
        embeddings = dict(zip(self.heads, (fused, s, m, w), strict=True))
        return {name: head(embeddings[name]) for name, head in self.heads.items()}, fused


def plain_state(ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The toolkit's weights under their names in a PlainComposition."""
    names = {
        "levels.spectrogram.backbone": "alexnet",
        "levels.mfcc.encoder.layers.0": "lstm",
        "levels.mfcc.encoder.layers.1": "lstm.second",
        "levels.wav2vec2.model": "wav2vec2",
        "fusion.project.spectrogram": "spectrogram",
        "fusion.project.mfcc": "mfcc",
        "fusion.project.wav2vec2": "frames",
        "fusion.weigh": "weigh",
        "fusion.fuse": "fuse",
        **{f"heads.{name}.layers": f"heads.{name}" for name in HEADS},
    }
    state = {}
    for name, values in ours.items():
        for prefix, plain in names.items():
            if name.startswith(f"{prefix}."):
                state[name.replace(prefix, plain, 1)] = values
    for name in [name for name in state if ".second." in name]:
        state[name.replace(".second.", ".").replace("_l0", "_l1")] = state.pop(name)
    # Ours flattens the map as [time, channel, frequency], theirs as [channel, frequency, time].
    weight = state["spectrogram.1.weight"]
    state["spectrogram.1.weight"] = weight.view(-1, 6, 256, 6).permute(0, 2, 3, 1).flatten(1)
    return state


class Training:
    """The plain loop.

    Args:
        inputs: image, MFCC, waveform and label of every segment.
        batches: indices of the segments in each batch.
        model: the model to train.
    """

    def __init__(self, inputs: list[Tensor], batches: list[list[int]], model: nn.Module):
        self.loader = DataLoader(TensorDataset(*inputs), batch_sampler=batches)
        self.model = model
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.01)
        self.centers = torch.zeros(CLASSES, DIM)

    def epoch(self) -> list[float]:
        """Train on every batch; returns the losses."""
        self.model.train()
        losses = []
        for image, mfcc, wave, label in self.loader:
            logits, fused = self.model(image, mfcc, wave)
            loss = sum(functional.cross_entropy(one, label) for one in logits.values())
            loss = loss + CENTER_WEIGHT * (fused - self.centers[label]).square().sum() / 2 / len(label)
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
            self.optimizer.step()
            self.move_centers(fused.detach(), label)
            losses.append(loss.item())
        return losses

    def move_centers(self, fused: Tensor, label: Tensor) -> None:
        """Move the centers by the rule of Wen et al."""
        for c in label.unique():
            rows = fused[label == c]
            self.centers[c] -= CENTER_RATE * (self.centers[c] - rows).sum(0) / (1 + len(rows))


def megabytes(what: str) -> float:
    """Megabytes of this process from /proc/self/status: VmRSS is the present memory, VmHWM the peak."""
    (line,) = [s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith(what)]
    return int(line.split()[1]) * 1024 / 1e6


def train_on_request(epoch: Callable[[], Any], libraries: float) -> None:
    """Train an epoch for each line of standard input; then print the peak of this process, and `libraries`, in MB."""
    for _ in sys.stdin:
        epoch()
        print("trained", flush=True)
    print(megabytes("VmHWM"), libraries)


if __name__ == "__main__":
    libraries = megabytes("VmRSS")
    saved = torch.load(sys.argv[1], weights_only=True, mmap=True)
    train_on_request(Training(saved["inputs"], saved["batches"], PlainComposition()).epoch, libraries)
