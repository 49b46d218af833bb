"""Declaration of the first-party corpora."""

from toolkit import PluginSpec, hookimpl

PLUGINS = {
    "iemocap": ("iemocap:Iemocap", "IEMOCAP from its release folder: ten speakers in five sessions"),
    "ravdess": ("ravdess:Ravdess", "RAVDESS, speech part, from the zip's folder or a 16 kHz copy: 24 actors"),
    "emodb": ("emodb:EmoDB", "EmoDB, German: ten actors, seven emotions, 535 utterances"),
    "crema_d": ("crema_d:CremaD", "CREMA-D, English: 91 actors, six emotions, 7442 utterances"),
    "msp_podcast": ("msp_podcast:MspPodcast", "MSP-Podcast: everyday speech from podcasts in its own partitions"),
    "speech_commands": ("speech_commands:SpeechCommands", "Speech Commands: single words, split by its lists"),
    "esc50": ("esc50:Esc50", "ESC-50: environmental sounds of 50 classes in five folds"),
    "urbansound8k": ("urbansound8k:UrbanSound8K", "UrbanSound8K: city sounds of ten classes in ten folds"),
    "audformat": ("audformat:Audformat", "any database in audformat: its labels, speakers and splits"),
    "manifest": ("manifest:Manifest", "any corpus, from a table or JSON with a path and a label in each row"),
    "synthetic": ("synthetic:Synthetic", "generated, in IEMOCAP's shape, for machines without a corpus"),
}


@hookimpl
def toolkit_register() -> list[PluginSpec]:
    """Declare the corpora."""
    return [
        PluginSpec(kind="corpus", name=name, target=f"toolkit_plugins.corpora.{target}", summary=summary)
        for name, (target, summary) in PLUGINS.items()
    ]
