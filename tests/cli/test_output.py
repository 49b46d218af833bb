"""Faults of standard output or the disk, and Ctrl-C, end a command with an exit code and at most one line."""

import errno
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from toolkit.cli.commands import Command
from toolkit.cli.main import main


def use(callback, name="use"):
    return CliRunner().invoke(Command(name, callback=callback), prog_name="toolkit")


def raising(error):
    def callback():
        raise error

    return callback


def test_a_full_standard_output_is_one_line():
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "toolkit", "list-plugins", "--json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 2
    assert done.stderr.endswith("The output cannot be written: No space left on device\n")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_goes_away_ends_the_command_without_a_word():
    done = use(raising(BrokenPipeError(errno.EPIPE, "Broken pipe")))
    assert (done.exit_code, done.output) == (141, "")


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["list-plugins"]])
def test_a_reader_may_go_away_at_any_output(words, monkeypatch):
    def full(*arguments, **options):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(click.utils, "_default_text_stdout", full)
    monkeypatch.setattr("rich.console.Console.print", full)
    done = CliRunner().invoke(main, words)
    assert (done.exit_code, done.stderr) == (141, "")


def test_an_error_of_the_operating_system_is_one_line():
    done = use(raising(PermissionError(errno.EACCES, "Permission denied", "/data/a.wav")))
    assert (done.exit_code, done.stderr) == (2, "toolkit: /data/a.wav: Permission denied\n")


def test_an_unexpected_error_is_one_line_that_says_how_to_see_more():
    done = use(raising(KeyError("lost")))
    assert (done.exit_code, done.stderr) == (2, "toolkit: KeyError: 'lost'; --traceback shows the whole traceback.\n")


def test_traceback_lets_the_exception_through():
    command = Command("use", callback=raising(PermissionError(errno.EACCES, "Permission denied", "/data")))
    assert isinstance(CliRunner().invoke(command, ["--traceback"]).exception, PermissionError)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("train", "toolkit: Stopped. The same command continues where this one stopped.\n"),
        ("report", "toolkit: Stopped.\n"),
    ],
)
def test_ctrl_c_exits_with_130_and_says_which_commands_can_continue(name, line):
    done = use(raising(KeyboardInterrupt()), name)
    assert (done.exit_code, done.stderr) == (130, line)


def test_ctrl_c_at_a_question_is_ctrl_c_and_no_is_an_answer(monkeypatch):
    ask = Command("clear", callback=lambda: click.confirm("Delete?", abort=True))
    for answer, code in ((raising(KeyboardInterrupt()), 130), (lambda: "n", 1)):
        monkeypatch.setattr("click.termui.visible_prompt_func", lambda prompt, answer=answer: answer())
        with pytest.raises(SystemExit) as ended:
            ask.main([])
        assert ended.value.code == code
