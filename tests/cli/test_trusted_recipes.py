"""A recipe's tags run code only with --trust-recipe, as an option of the commands that take a recipe."""

import pytest
from click.testing import CliRunner, Result
from small_system import write_recipe

from toolkit.cli.main import main


@pytest.fixture
def recipe(tmp_path):
    """A recipe whose seed is the result of code, 3."""
    path = write_recipe(tmp_path)
    path.write_text(path.read_text() + "seed: !apply:len [[1, 2, 3]]\n")
    return path


def command(*words: object) -> Result:
    return CliRunner().invoke(main, list(map(str, words)), prog_name="toolkit")


def test_code_in_a_recipe_is_refused_without_the_option_and_runs_with_it(recipe):
    refused = command("check-data", recipe)
    assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert "runs code" in refused.stderr and "--trust-recipe" in refused.stderr
    done = command("check-data", recipe, "--trust-recipe")
    assert done.exit_code == 0 and "24 utterances" in done.stdout, done.stderr


def test_the_next_command_of_a_training_that_was_trusted_repeats_the_option(recipe):
    done = command("train", recipe, "--training.epochs=1", "--trust-recipe")
    assert done.exit_code == 0, done.stderr
    assert "-seed3-" in done.stdout.splitlines()[-1]
    following, _ = [line for line in done.stderr.splitlines() if line.startswith("Next")]
    assert f": toolkit experiment {recipe} --training.epochs=1 --trust-recipe --output " in following
