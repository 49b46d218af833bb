"""Declaration of the first-party augmentations."""

from toolkit import PluginSpec, hookimpl

PLUGINS = {
    "gain": ("gain:Gain", "Waveform: louder or softer"),
    "noise": ("noise:Noise", "Waveform: white, coloured or recorded noise at a signal-to-noise ratio"),
    "reverb": ("reverb:Reverb", "Waveform: a room, simulated or from recorded impulse responses"),
    "speed": ("speed:Speed", "Waveform: faster or slower, with pitch and formants"),
    "pitch": ("speed:Pitch", "Waveform: higher or lower at the same speed"),
    "vtlp": ("vtlp:Vtlp", "Waveform: another vocal tract length: formants move, the pitch stays"),
    "telephone": ("telephone:Telephone", "Waveform: 300 to 3400 Hz, 8 kHz, 8 bits by mu-law"),
    "codec": ("codec:Codec", "Waveform: MP3 at a low bit rate"),
    "crop": ("crop:Crop", "Waveform: a random excerpt"),
    "shift": ("shift:Shift", "Waveform: rolled along time"),
    "time_mask": ("masks:TimeMask", "Features: spans of frames masked (SpecAugment)"),
    "freq_mask": ("masks:FreqMask", "Features: bands of channels masked (SpecAugment)"),
    "feature_noise": ("feature_noise:FeatureNoise", "Features: Gaussian noise"),
    "frame_shift": ("shift:FrameShift", "Features: rolled along time"),
    "mixup": ("mixup:Mixup", "Batch: each row mixed with a randomly drawn row, and their targets"),
}


@hookimpl
def toolkit_register() -> list[PluginSpec]:
    """Declare the augmentations."""
    return [
        PluginSpec(kind="augmentation", name=name, target=f"toolkit_plugins.augmentations.{target}", summary=summary)
        for name, (target, summary) in PLUGINS.items()
    ]
