"""Declaration of the first-party augmentations."""

from toolkit import PluginSpec, hookimpl

SUMMARIES = {
    "gain": ("gain:Gain", "Waveform: louder or softer"),
    "noise": ("noise:Noise", "Waveform: white or coloured noise, or recordings of it, at a signal-to-noise ratio"),
    "time_mask": ("masks:TimeMask", "Features: stretches of frames masked (SpecAugment)"),
    "freq_mask": ("masks:FreqMask", "Features: bands of channels masked (SpecAugment)"),
    "mixup": ("mixup:Mixup", "Batch: rows mixed in pairs, with their targets"),
}


@hookimpl
def toolkit_register() -> list[PluginSpec]:
    """Declare them."""
    return [
        PluginSpec(kind="augmentation", name=name, target=f"toolkit_plugins.augmentations.{target}", summary=summary)
        for name, (target, summary) in SUMMARIES.items()
    ]
