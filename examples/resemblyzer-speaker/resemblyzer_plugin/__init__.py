"""Declaration of the extractor `resemblyzer`; it imports no torch."""

from toolkit import PluginSpec, hookimpl


@hookimpl
def toolkit_register() -> list[PluginSpec]:
    """Declare it."""
    return [
        PluginSpec(
            kind="extractor",
            name="resemblyzer",
            target="resemblyzer_plugin.extractor:Resemblyzer",
            summary="a speaker encoder's embeddings or states, pre-trained and frozen",
        )
    ]
