"""Declaration of the first-party extractors."""

from toolkit import PluginSpec, hookimpl

PLUGINS = {
    "mfcc": ("mfcc:Mfcc", "MFCC through a bidirectional LSTM"),
    "spectrogram": ("spectrogram:Spectrogram", "log-spectrogram as an image through AlexNet's convolutions"),
    "functionals": ("functionals:Functionals", "statistics of spectral and prosodic descriptors (Eyben et al., 2010)"),
    "nlinear": ("linear_series:NLinear", "NLinear along time over log-mel, MFCC or framed waveform"),
    "dlinear": ("linear_series:DLinear", "DLinear along time over log-mel, MFCC or framed waveform"),
    "wav2vec2": ("wav2vec2:Wav2Vec2", "wav2vec 2.0, HuBERT, WavLM or data2vec: fine-tuned, frozen or top layers"),
    "whisper": ("whisper:Whisper", "Whisper's encoder: fine-tuned, frozen or top layers"),
}


@hookimpl
def toolkit_register() -> list[PluginSpec]:
    """Declare the extractors."""
    return [
        PluginSpec(kind="extractor", name=name, target=f"toolkit_plugins.extractors.{target}", summary=summary)
        for name, (target, summary) in PLUGINS.items()
    ]
