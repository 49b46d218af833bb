"""Audio classification with deep learning from swappable parts, speech emotion recognition first.

Importing this package is light: it holds what a plugin's declaration needs and nothing that imports torch.

>>> from toolkit import PluginSpec
>>> PluginSpec(kind="extractor", name="pitch", target="my_package.pitch:Pitch", summary="F0 contour").module
'my_package.pitch'
"""

from importlib.metadata import version

from toolkit.hookspecs import PluginSpec, hookimpl

__version__ = version("audio-classification-toolkit")

__all__ = ["PluginSpec", "__version__", "hookimpl"]
