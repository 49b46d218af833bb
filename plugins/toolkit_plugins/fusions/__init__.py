"""Declaration of the first-party fusions."""

from toolkit import PluginSpec, hookimpl

PLUGINS = {
    "concat": ("concat:Concat", "Pool every level over time, concatenate (Snyder et al., 2018)"),
    "coattention": ("coattention:CoAttention", "Other levels weigh a level's frames (Zou et al., 2022); fixed length"),
    "attention": ("attention:Attention", "Attention over frames, then over levels (Yang et al., 2016); any length"),
}


@hookimpl
def toolkit_register() -> list[PluginSpec]:
    """Declare the fusions."""
    return [
        PluginSpec(kind="fusion", name=name, target=f"toolkit_plugins.fusions.{target}", summary=summary)
        for name, (target, summary) in PLUGINS.items()
    ]
