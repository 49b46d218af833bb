"""What happens to standard output, the disk and Ctrl-C ends a command with its exit code and at most one line."""

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


def test_a_reader_that_goes_away_is_no_error_to_speak_of():
    done = use(raising(BrokenPipeError(errno.EPIPE, "Broken pipe")))
    assert (done.exit_code, done.output) == (141, "")


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["list-plugins"]])
def test_it_holds_for_every_word_that_is_printed(words, monkeypatch):
    def full(*arguments, **options):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(click.utils, "_default_text_stdout", full)
    monkeypatch.setattr("rich.console.Console.print", full)
    done = CliRunner().invoke(main, words)
    assert (done.exit_code, done.stderr) == (141, "")


def test_what_the_machine_refuses_is_one_line():
    done = use(raising(PermissionError(errno.EACCES, "Permission denied", "/data/a.wav")))
    assert (done.exit_code, done.stderr) == (2, "toolkit: /data/a.wav: Permission denied\n")


def test_traceback_shows_it_all():
    command = Command("use", callback=raising(PermissionError(errno.EACCES, "Permission denied", "/data")))
    assert isinstance(CliRunner().invoke(command, ["--traceback"]).exception, PermissionError)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("train", "toolkit: Stopped. The same command continues where this one stopped.\n"),
        ("report", "toolkit: Stopped.\n"),
    ],
)
def test_ctrl_c_exits_with_130_and_says_what_goes_on(name, line):
    done = use(raising(KeyboardInterrupt()), name)
    assert (done.exit_code, done.stderr) == (130, line)


def test_ctrl_c_at_a_question_is_ctrl_c_and_no_is_an_answer(monkeypatch):
    ask = Command("clear", callback=lambda: click.confirm("Delete?", abort=True))
    for answer, code in ((raising(KeyboardInterrupt()), 130), (lambda: "n", 1)):
        monkeypatch.setattr("click.termui.visible_prompt_func", lambda prompt, answer=answer: answer())
        with pytest.raises(SystemExit) as ended:
            ask.main([])
        assert ended.value.code == code


@pytest.mark.parametrize(("closed", "code"), [("stdout", 2), ("stderr", 0)])
def test_a_closed_output_is_an_error_where_it_is_lost(monkeypatch, closed, code):
    monkeypatch.setattr(sys, closed, None)
    with pytest.raises(SystemExit) as ended:
        main(["list-plugins", "--kind", "head"])
    assert ended.value.code == code
    assert not getattr(sys, closed).isatty()
