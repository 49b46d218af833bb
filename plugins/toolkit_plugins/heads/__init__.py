"""Declaration of the first-party heads."""

from toolkit import PluginSpec, hookimpl


@hookimpl
def toolkit_register() -> list[PluginSpec]:
    """Declare them."""
    return [
        PluginSpec(
            kind="head",
            name="linear",
            target="toolkit_plugins.heads.linear:Linear",
            summary="One linear layer (softmax regression on an embedding)",
        ),
        PluginSpec(
            kind="head",
            name="discriminant",
            target="toolkit_plugins.heads.discriminant:Discriminant",
            summary="Linear discriminant analysis, fitted before training (Friedman, 1989)",
        ),
        PluginSpec(
            kind="head",
            name="mlp",
            target="toolkit_plugins.heads.mlp:Mlp",
            summary="Hidden layers with dropout and ReLU, then a linear layer (Zou et al., 2022)",
        ),
    ]
