"""A mistake in a command line is one line that says what is near and where to look."""

import pytest
from click.testing import CliRunner

from toolkit.cli.main import main
from toolkit.cli.options import names


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("predict --fromat csv", "toolkit predict: No such option '--fromat'. Did you mean '--format'?"),
        ("predcit", "toolkit: No such command 'predcit'. Did you mean 'predict'?"),
        ("cache cler", "toolkit cache: No such command 'cler'. Did you mean 'clear'?"),
        ("predict", "toolkit predict: Missing argument 'BUNDLE'."),
        ("experiment a.yaml", "toolkit experiment: Missing option '--output'."),
        ("predict a b --format", "toolkit predict: Option '--format' requires an argument."),
        ("train a.yaml --fold", "toolkit train: Option '--fold' requires an argument."),
        ("show-plugin a b c", "toolkit show-plugin: One plugin at a time: [KIND] NAME."),
        ("train a.yaml --fold=", "toolkit train: --fold is empty: leave it out or give a value."),
        ("experiment a.yaml --output o --gpus=", "toolkit experiment: --gpus is empty: leave it out or give a value."),
        ("evaluate a b --map=", "toolkit evaluate: Invalid value for '--map': LABEL=CLASS,... is needed, each name "
         "once, not ''."),
        ("train --fold=a", "toolkit train: Missing argument 'RECIPE [--KEY VALUE]...'."),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_what_is_near(words, line):
    done = CliRunner().invoke(main, words.split(), prog_name="toolkit")
    command = line.partition(":")[0]
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == f"{line} See `{command} --help`.\n"


def test_an_invalid_value_is_one_line_too():
    done = CliRunner().invoke(main, ["predict", "a", "b", "--format", "cvs"], prog_name="toolkit")
    assert done.exit_code == 2 and done.stderr.count("\n") == 1
    assert "'cvs' is not one of 'table', 'csv', 'jsonl'" in done.stderr


@pytest.mark.parametrize("words", [[], ["cache"]])
def test_a_group_alone_prints_its_help(words):
    done = CliRunner().invoke(main, words)
    assert "Commands:" in done.output and "See `" not in done.output


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, ()),
        ("1M,1F", ("1M", "1F")),
        ('"Doe, J",X', ("Doe, J", "X")),
        ('a"b', ('a"b',)),
        ("", ("",)),
        ("a,,b", ("a", "", "b")),
    ],
)
def test_names_have_commas_between_them_as_in_csv(text, found):
    assert names(None, None, text) == found
