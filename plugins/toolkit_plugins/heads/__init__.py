"""Declaration of the first-party heads."""

from toolkit import PluginSpec, hookimpl

PLUGINS = {
    "linear": ("linear:Linear", "One linear layer (softmax regression on an embedding)"),
    "discriminant": ("discriminant:Discriminant", "Linear discriminant analysis in closed form (Friedman, 1989)"),
    "mlp": ("mlp:Mlp", "Hidden layers with dropout and ReLU, then a linear layer (Zou et al., 2022)"),
}


@hookimpl
def toolkit_register() -> list[PluginSpec]:
    """Declare the heads."""
    return [
        PluginSpec(kind="head", name=name, target=f"toolkit_plugins.heads.{target}", summary=summary)
        for name, (target, summary) in PLUGINS.items()
    ]
