"""Declaration of the first-party losses."""

from toolkit import PluginSpec, hookimpl

PLUGINS = {
    "cross_entropy": ("cross_entropy:CrossEntropy", "Cross entropy of logits, with class weights and label smoothing"),
    "center": ("center:Center", "Distance of an embedding to its class's center (Wen et al., 2016)"),
}


@hookimpl
def toolkit_register() -> list[PluginSpec]:
    """Declare the losses."""
    return [
        PluginSpec(kind="loss", name=name, target=f"toolkit_plugins.losses.{target}", summary=summary)
        for name, (target, summary) in PLUGINS.items()
    ]
