"""Draw docs/augmentation/NAME.png for every augmentation, and print what each costs.

The sound is synthetic: a voice of three vowels that rises and falls.
"""

import time
from pathlib import Path

import matplotlib
import torch
from matplotlib.figure import Figure

from toolkit.contracts import Augmentation, Seq
from toolkit.plugins.registry import default_registry

matplotlib.rcParams["font.size"] = 7
FOLDER = Path(__file__).parent / "augmentation"
RATE, SECONDS = 16_000, 2
VOWELS = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240))  # formants in Hz
SHOWN = {  # arguments that show in a picture
    "gain": {"db": (-20.0, -20.0)},
    "noise": {"snr_db": (10.0, 10.0), "colour": "pink"},
    "reverb": {"seconds": (0.8, 0.8), "direct_db": (0.0, 0.0)},
    "speed": {"factor": (1.25, 1.25)},
    "pitch": {"semitones": (5.0, 5.0)},
    "vtlp": {"alpha": (1.2, 1.2)},
    "codec": {"kbit_per_s": (16.0, 16.0)},
    "crop": {"part": (0.6, 0.6)},
    "shift": {"most": 0.4},
    "freq_mask": {"channels": 20},
    "feature_noise": {"deviation": 0.5},
    "frame_shift": {"most": 0.4},
    "mixup": {"alpha": 5.0},
}


def voice(seed: int = 0) -> torch.Tensor:
    """Pulses whose rate rises and falls, through the formants of one vowel after the other: [samples]."""
    time_s = torch.arange(RATE * SECONDS) / RATE
    pitch = 120 + 40 * torch.sin(torch.pi * time_s / SECONDS + seed)
    phase = torch.cumsum(pitch / RATE, 0)
    pulses = (phase.diff(prepend=torch.zeros(1)).cumsum(0) % 1.0).diff(prepend=torch.zeros(1)).lt(0).float()
    parts = []
    for formants, part in zip(VOWELS, pulses.tensor_split(3), strict=True):
        kernel_s = torch.arange(800) / RATE
        kernel = sum(
            torch.exp(-250 * kernel_s) * torch.sin(2 * torch.pi * f * kernel_s) / k for k, f in enumerate(formants, 1)
        )
        sound = torch.nn.functional.conv1d(part[None, None], kernel.flip(0)[None, None], padding=799)[0, 0, : len(part)]
        parts.append(sound * torch.hann_window(len(part)).sqrt())
    wave = torch.cat(parts)
    return 0.3 * wave / wave.abs().max() + 1e-4 * torch.randn(len(wave), generator=torch.Generator().manual_seed(seed))


def log_mel(wave: torch.Tensor) -> torch.Tensor:
    """[samples] -> [frames, 64], dB."""
    from torchaudio.transforms import MelSpectrogram

    return MelSpectrogram(RATE, n_fft=512, hop_length=160, n_mels=64)(wave).clamp_min(1e-7).log10().mul(10).T


def changed(augmentation: Augmentation, wave: torch.Tensor) -> torch.Tensor:
    """The log-mel spectrogram of the sound, augmented: [frames, 64]."""
    generator = torch.Generator().manual_seed(3)
    features = log_mel(wave)
    if augmentation.fits:
        augmentation.fit([Seq(features[None], torch.tensor([len(features)]))])
    if augmentation.reads == "wave":
        return log_mel(augmentation.change(wave, generator))
    if augmentation.reads == "features":
        return augmentation.change(features, generator)
    rows = torch.stack([features, log_mel(voice(2).flip(0))])
    mixed = {}
    for seed in range(99):  # until the rows have swapped partners
        mixed, mix = augmentation.mix(
            {"x": Seq(rows, torch.tensor([len(features)] * 2))}, torch.Generator().manual_seed(seed)
        )
        if int(mix.partners[0]) == 1:
            break
    return mixed["x"].values[0]


def cost(augmentation: Augmentation, wave: torch.Tensor) -> float:
    """Milliseconds of CPU time for each second of audio, the least of many tries with one thread."""
    features, tries = log_mel(wave), []
    batch = {"x": Seq(features.expand(32, -1, -1), torch.tensor([len(features)] * 32), full=True)}
    for seed in range(30):
        generator = torch.Generator().manual_seed(seed)
        started = time.process_time()
        if augmentation.reads == "batch":
            augmentation.mix(batch, generator)
        else:
            augmentation.change(wave if augmentation.reads == "wave" else features, generator)
        tries.append((time.process_time() - started) / (32 if augmentation.reads == "batch" else 1))
    return 1000 * sorted(tries)[len(tries) // 2] / SECONDS


def draw(name: str, before: torch.Tensor, after: torch.Tensor) -> None:
    """Both spectrograms side by side."""
    figure = Figure(figsize=(4.2, 1.3), dpi=80, layout="constrained")
    for axes, values, title in zip(figure.subplots(1, 2, sharey=True), (before, after), ("before", name), strict=True):
        axes.imshow(
            values.T,
            origin="lower",
            aspect="auto",
            vmin=-70,
            vmax=20,
            extent=(0, len(values) / 100, 0, 64),
            cmap="magma",
        )
        axes.set(title=title, xlabel="s", xlim=(0, SECONDS), yticks=[])
    figure.savefig(FOLDER / f"{name}.png", metadata={"Software": None}, pil_kwargs={"optimize": True})


def main() -> None:
    """All of them."""
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    wave = voice()
    for info in default_registry().list_plugins("augmentation"):
        plugin = default_registry().find("augmentation", info.name)
        context = {"sample_rate": RATE, "segment_samples": len(wave)}
        draw(info.name, log_mel(wave), changed(plugin.build(SHOWN.get(info.name, {}), context), wave))
        print(f"{info.name:15} {cost(plugin.build({}, context), wave):.2f} ms for each second of audio")


if __name__ == "__main__":
    main()
