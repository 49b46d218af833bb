"""Audio classification with deep learning from swappable parts, speech emotion recognition first.

Importing this package is cheap: it holds what a plugin declaration needs and does not import torch.
"""

from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.hookspecs import PluginSpec, hookimpl

try:
    __version__ = version("audio-classification-toolkit")
except PackageNotFoundError:
    text = "the toolkit is not installed, so its plugins cannot be found: run `pip install .` in its folder"
    raise ImportError(text, name=__name__) from None  # with this name `python -m toolkit` ends in one line

__all__ = ["PluginSpec", "__version__", "hookimpl", "load", "read_predictions", "train"]

if TYPE_CHECKING:
    import numpy as np

    from toolkit.inference.predict.model import Model
    from toolkit.training.run_folder import Result


def train(
    recipe: str | Path,
    *,
    manifest: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    say: Callable[[str], None] = print,
    **overrides: Any,
) -> "Result":
    """Train and test a system on one fold, as `toolkit train` does; this imports torch.

    Args:
        recipe: a YAML file, or the name of a recipe of the toolkit, such as "speech/whisper".
        manifest: a CSV or JSON file of recordings, in place of the recipe's corpus.
        columns: the manifest's own column names, as --columns takes them: `{"path": "filename", "label": "category"}`.
        say: called with each line that the command would print.
        **overrides: keys of the recipe: `seed=2`, `training={"epochs": 3}`, `**{"training.epochs": 3}`.

    Returns: results.json as a dict with the attribute `folder`, the run's folder. A finished run is not trained again.
    Raises: ToolkitError, with the line that the command would print.
    """
    from toolkit.distributed import from_first
    from toolkit.plugins.plugin import plugin_failures
    from toolkit.recipe.loading import as_overrides
    from toolkit.training.launch import together
    from toolkit.training.preparation import load_source, prepare
    from toolkit.training.run import Run
    from toolkit.training.run_folder import Result

    if columns is not None:
        overrides["corpus.args.columns"] = dict(columns)
    with together(), plugin_failures():
        path = Run(prepare(load_source(recipe, as_overrides(overrides), manifest=manifest)), say=say).train()
        return from_first(lambda: Result(path))


def read_predictions(run: "str | Path | Result") -> "dict[str, np.ndarray]":
    """The columns of a finished run's predictions.csv, each [utterances]; `pandas.DataFrame` accepts them.

    Args: run: what `train` returned, or the run's folder.
    Raises: ToolkitError if the run is not finished, or its files are damaged.
    """
    from toolkit.training.predictions import predictions_of

    return predictions_of(getattr(run, "folder", run))


def load(bundle: str | Path, *, device: str | None = None) -> "Model":
    """Load a trained system from a bundle; this imports torch.

    Args: bundle: a folder or .zip file from `toolkit export`, or hf:USER/NAME[@REVISION] on the Hugging Face hub;
        device: cpu, cuda:1, ...; by default a GPU if there is one.
    Returns: a `toolkit.inference.predict.model.Model`: `predict`, `predict_many`, `embed`, `stream`.
    Raises: ToolkitError if the bundle cannot be read, or the device does not exist.
    """
    from toolkit.inference.bundle import read_bundle
    from toolkit.inference.predict.model import Model

    content = read_bundle(bundle)
    return Model(content.system, content.usage, device=device, seen=content.seen)
