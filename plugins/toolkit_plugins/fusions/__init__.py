"""Declaration of the first-party fusions."""

from toolkit import PluginSpec, hookimpl


@hookimpl
def toolkit_register() -> list[PluginSpec]:
    """Declare them."""
    return [
        PluginSpec(
            kind="fusion",
            name="concat",
            target="toolkit_plugins.fusions.concat:Concat",
            summary="Pool every level over time, concatenate (Snyder et al., 2018)",
        ),
        PluginSpec(
            kind="fusion",
            name="coattention",
            target="toolkit_plugins.fusions.coattention:CoAttention",
            summary="The other levels weigh one level's frames (Zou et al., 2022); fixed length",
        ),
        PluginSpec(
            kind="fusion",
            name="attention",
            target="toolkit_plugins.fusions.attention:Attention",
            summary="Attention over each level's frames, then over levels (Yang et al., 2016); any length",
        ),
    ]
