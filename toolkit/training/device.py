"""The device of a training. Imports no SpeechBrain."""

import os

from toolkit.distributed import ranks
from toolkit.errors import RecipeError
from toolkit.hardware import available_device
from toolkit.recipe.schema import Recipe


def choose_device(recipe: Recipe) -> str:
    """The recipe's device, else a GPU if there is one. Raises: ToolkitError if it is missing or lacks the precision."""
    name = recipe.training.device
    if ranks() > 1 and (name or "").startswith("cuda:"):
        raise RecipeError(f"training.device is {name!r}: if several processes train, each has its own: give cuda.")
    device = available_device(name, setting="training.device")
    if device == "cuda" and ranks() > 1:
        device = available_device(f"cuda:{os.environ['LOCAL_RANK']}", setting="a rank's own device")
    if device == "cpu" and recipe.training.precision == "fp16":
        raise RecipeError("training.precision is 'fp16', which needs a GPU: use fp32 or bf16 on the CPU.")
    return device
