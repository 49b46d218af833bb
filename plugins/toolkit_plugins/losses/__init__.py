"""Declaration of the first-party losses."""

from toolkit import PluginSpec, hookimpl


@hookimpl
def toolkit_register() -> list[PluginSpec]:
    """Declare them."""
    return [
        PluginSpec(
            kind="loss",
            name="cross_entropy",
            target="toolkit_plugins.losses.cross_entropy:CrossEntropy",
            summary="Cross entropy of a head's logits, with class weights and label smoothing",
        ),
        PluginSpec(
            kind="loss",
            name="center",
            target="toolkit_plugins.losses.center:Center",
            summary="Distance of an embedding to its class's center (Wen et al., 2016)",
        ),
    ]
