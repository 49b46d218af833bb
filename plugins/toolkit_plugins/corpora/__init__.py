"""Declaration of the first-party corpora."""

from toolkit import PluginSpec, hookimpl

_CORPORA = (
    ("iemocap", "iemocap:Iemocap", "IEMOCAP from its release folder: ten speakers in five sessions"),
    ("ravdess", "ravdess:Ravdess", "RAVDESS, speech part, from the zip's folder or a 16 kHz copy: 24 actors"),
    ("manifest", "manifest:Manifest", "any corpus, from a CSV or JSON file with columns path and label"),
    ("synthetic", "synthetic:Synthetic", "generated, in IEMOCAP's shape, for machines without a corpus"),
)


@hookimpl
def toolkit_register() -> list[PluginSpec]:
    """Declare them."""
    return [
        PluginSpec(kind="corpus", name=name, target=f"toolkit_plugins.corpora.{target}", summary=summary)
        for name, target, summary in _CORPORA
    ]
