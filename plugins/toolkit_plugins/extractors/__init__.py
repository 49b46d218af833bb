"""Declaration of the first-party extractors."""

from toolkit import PluginSpec, hookimpl


@hookimpl
def toolkit_register() -> list[PluginSpec]:
    """Declare them."""
    return [
        PluginSpec(
            kind="extractor",
            name="mfcc",
            target="toolkit_plugins.extractors.mfcc:Mfcc",
            summary="MFCC through a bidirectional LSTM",
        ),
        PluginSpec(
            kind="extractor",
            name="spectrogram",
            target="toolkit_plugins.extractors.spectrogram:Spectrogram",
            summary="log-spectrogram as an image through AlexNet's convolutions",
        ),
        PluginSpec(
            kind="extractor",
            name="functionals",
            target="toolkit_plugins.extractors.functionals:Functionals",
            summary="statistics of spectral and prosodic descriptors, nothing learned (Eyben et al., 2010)",
        ),
        PluginSpec(
            kind="extractor",
            name="nlinear",
            target="toolkit_plugins.extractors.linear_series:NLinear",
            summary="NLinear along time over log-mel, MFCC or framed waveform",
        ),
        PluginSpec(
            kind="extractor",
            name="dlinear",
            target="toolkit_plugins.extractors.linear_series:DLinear",
            summary="DLinear along time over log-mel, MFCC or framed waveform",
        ),
        PluginSpec(
            kind="extractor",
            name="wav2vec2",
            target="toolkit_plugins.extractors.wav2vec2:Wav2Vec2",
            summary="wav2vec 2.0, HuBERT or WavLM: fine-tuned, frozen or top layers",
        ),
        PluginSpec(
            kind="extractor",
            name="whisper",
            target="toolkit_plugins.extractors.whisper:Whisper",
            summary="Whisper's encoder: fine-tuned, frozen or top layers",
        ),
    ]
