"""The robustness campaign: commands called in one process with inputs that are wrong, and what is asked of each answer.

A wrong input ends with its exit code and one line. Never with a traceback, never in silence, never after a minute.
"""

import contextlib
import json
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from click.testing import CliRunner
from fake_experiment import SER, FakeExperiment, FakeSystem
from small_system import write_recipe

from toolkit.cli.main import main

HANGS_AFTER_S = 30.0
LONGEST_LINE = 10_000  # characters


class Hang(BaseException):
    """A command took too long; no `except Exception` catches it."""


@dataclass(frozen=True)
class Case:
    """One command line with something wrong.

    Args:
        words: of the command line, or what makes them of the workspace's folder and a folder of the case's own.
        about: what is wrong.
        exits: the exit codes that say so; 0 for odd input that is right.
        given: what stands on standard input.
        environment: variables of this case.
    """

    words: Sequence[str] | Callable[[Path, Path], Sequence[str]]
    about: str
    exits: tuple[int, ...] = (2,)
    given: bytes = b""
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a case ended; `fault` is "" where all is as asked."""

    words: Sequence[str]
    about: str
    fault: str
    seconds: float
    line: str


def workspace(folder: Path) -> Path:
    """What the cases use: a corpus, a recipe, a run, its bundle, an experiment, files and folders with odd names."""
    folder.mkdir(parents=True, exist_ok=True)
    write_recipe(folder)
    _call(["train", f"{folder}/small.yaml", "--training.epochs=1"])
    (run,) = (folder / "results").iterdir()
    run.rename(folder / "run")
    _call(["export", f"{folder}/run", f"{folder}/bundle"])
    _call(["export", f"{folder}/run", f"{folder}/bundle.zip"])
    systems = {"ser": SER, "mfcc": FakeSystem(levels=("mfcc",), skill=0.5)}
    folds = {speaker: (speaker,) for speaker in ("1M", "1F", "2M", "2F")}
    FakeExperiment(systems, folds, utterances=6).write(folder / "experiment")
    return folder


def _call(words: Sequence[str]) -> None:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output


def run_case(case: Case, folder: Path, number: int) -> Outcome:
    """Call the command in this process, in the case's own folder, and look at what it answers."""
    own = folder / "cases" / str(number)
    own.mkdir(parents=True)
    words = list(case.words(folder, own) if callable(case.words) else case.words)
    words = [word.replace("WORK", str(folder)).replace("OWN", str(own)) for word in words]
    start, before = time.monotonic(), Path.cwd()
    os.chdir(own)
    try:
        with _limited(HANGS_AFTER_S, own):
            done = CliRunner(env=case.environment).invoke(main, words, input=case.given, prog_name="toolkit")
    except Hang:
        return Outcome(words, case.about, f"hang: no answer after {HANGS_AFTER_S:g} s", HANGS_AFTER_S, "")
    finally:
        os.chdir(before)
    seconds = time.monotonic() - start
    shutil.rmtree(own, ignore_errors=True)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return Outcome(words, case.about, _fault(case, done, lines), seconds, lines[-1] if lines else "")


def _fault(case: Case, done, lines: Sequence[str]) -> str:
    error = done.exception
    if error is not None and not isinstance(error, SystemExit):
        return f"traceback: {type(error).__name__}: {str(error)[:300]}"
    if "Traceback (most recent" in done.output:
        return "traceback: printed"
    if done.exit_code not in case.exits:
        kind = "silent acceptance" if done.exit_code == 0 else "exit code"
        return f"{kind}: exit code {done.exit_code}, not {' or '.join(map(str, case.exits))}: {' | '.join(lines[-2:])}"
    if done.exit_code and not lines and not done.stdout.strip():
        return "silence: no line says why"
    refusals = [line for line in lines if line.startswith("toolkit")]
    if done.exit_code == 2 and len(refusals) != 1:
        return f"message: {len(refusals)} lines of refusal: {' | '.join(lines)[:400]}"
    if odd := [line for line in lines if len(line) > LONGEST_LINE or not line.isprintable()]:
        return f"message: a line of {len(odd[0])} characters, or with what cannot be printed: {odd[0][:100]!r}"
    return ""


@contextlib.contextmanager
def _limited(seconds: float, own: Path) -> Iterator[None]:
    calls = []

    def stop(number, frame):
        calls.append(number)
        for pipe in filter(Path.is_fifo, own.glob("pipe*")):  # wakes a thread that waits for its writer
            with contextlib.suppress(OSError):
                os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        if len(calls) == 1:
            raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def peak_bytes() -> int:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def copied(source: Path, own: Path) -> Path:
    """A copy in the case's own folder, to be damaged."""
    target = own / source.name
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)
    return target


def edited(file: Path, keys: Sequence[object], value: object) -> None:
    """Replace one value in a JSON file; a value that is bytes is written as it is, in place of the whole."""
    if isinstance(value, bytes):
        file.write_bytes(value)
        return
    whole = json.loads(file.read_text())
    inner = whole
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    file.write_text(json.dumps(whole))


def odd_files(own: Path, suffix: str) -> dict[str, str]:
    """What is wrong -> the name of a file or folder to read from, made in `own`."""
    (own / f"loop{suffix}").symlink_to(own / f"loop{suffix}")
    (own / f"dangling{suffix}").symlink_to(own / "nothing")
    (own / f"empty{suffix}").touch()
    (own / f"binary{suffix}").write_bytes(bytes(range(256)) * 8)
    (own / f"folder{suffix}").mkdir()
    os.mkfifo(own / f"pipe{suffix}")
    return {
        "missing": f"missing{suffix}",
        "a loop of links": f"loop{suffix}",
        "below a loop": f"loop{suffix}/x{suffix}",
        "a dangling link": f"dangling{suffix}",
        "empty": f"empty{suffix}",
        "binary": f"binary{suffix}",
        "a folder": f"folder{suffix}",
        "a FIFO": f"pipe{suffix}",
        "below a file": f"empty{suffix}/x{suffix}",
        "a NUL": f"a\0b{suffix}",
        "a long name": "n" * 300 + suffix,
        "a long path": "n/" * 3000 + suffix,
        "a surrogate": f"a\udcffb{suffix}",
        "an escape": f"\x1b[31ma\x1b[0m{suffix}",
        "markup": f"[/b][red]a{suffix}",
        "a line feed": f"a\nb{suffix}",
        "a device": "/dev/null",
        "an endless device": "/dev/zero",
        "nothing": "",
        "a space": " ",
        "no such home": f"~nobody-here/x{suffix}",
    }
