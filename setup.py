"""What pyproject.toml cannot say: the folder recipes/ is installed as the package toolkit_recipes."""

from setuptools import find_namespace_packages, setup

setup(
    packages=[
        *find_namespace_packages(include=["toolkit", "toolkit.*"]),
        *find_namespace_packages("plugins", include=["toolkit_plugins", "toolkit_plugins.*"]),
        "toolkit_recipes",
        *(f"toolkit_recipes.{name}" for name in find_namespace_packages("recipes", include=["*.hparams"])),
    ],
    package_dir={"toolkit_plugins": "plugins/toolkit_plugins", "toolkit_recipes": "recipes"},
)
