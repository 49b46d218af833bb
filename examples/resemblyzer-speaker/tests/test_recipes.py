import json
import subprocess
import sys
from pathlib import Path

import pytest

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_the_recipe_trains_an_epoch(recipe, actors, tmp_path):
    command = [sys.executable, "-m", "toolkit", "train", recipe, "--data_folder", actors, "--output_folder", tmp_path]
    subprocess.run([*command, "--training.epochs", "1", "--device", "cpu"], check=True, capture_output=True)
    (results,) = [json.loads(path.read_text()) for path in tmp_path.glob("*/results.json")]
    assert results["n_utterances"] == 32 and results["fold"] == "1" and len(results["labels"]) == 8
