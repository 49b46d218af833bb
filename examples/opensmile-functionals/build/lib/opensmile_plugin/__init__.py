"""Declaration of the extractor `opensmile`; it imports neither openSMILE nor torch."""

from toolkit import PluginSpec, hookimpl


@hookimpl
def toolkit_register() -> list[PluginSpec]:
    """Declare it."""
    return [
        PluginSpec(
            kind="extractor",
            name="opensmile",
            target="opensmile_plugin.extractor:OpenSmile",
            summary="openSMILE: eGeMAPS, ComParE and other sets, functionals or descriptors",
        )
    ]
