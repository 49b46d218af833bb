"""The time of the light commands, beside that of importing SpeechBrain."""

import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import Result, alternate
from speech import write_corpus

RECIPE = """\
corpus: {plugin: manifest, args: {path: %s}}
protocol: {name: session-out}
model:
  levels: {mfcc: {plugin: mfcc}}
  fusion: {plugin: attention}
  heads: {emotion: {plugin: linear}}
  losses: {classification: {plugin: cross_entropy, on: "*"}}
"""
TOOLKIT = [sys.executable, "-m", "toolkit"]


def run(command: list[str]) -> None:
    """One run of a command; `status` of a folder without an experiment ends with 2."""
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == (2 if "status" in command else 0), done.stderr


def main() -> None:
    """Alternate each command with the import."""
    with tempfile.TemporaryDirectory() as folder:
        write_corpus(Path(folder), 40)
        recipe = Path(folder) / "startup.yaml"
        recipe.write_text(RECIPE % (Path(folder) / "manifest.csv"))
        commands = {
            "toolkit --help": ["--help"],
            "toolkit list-plugins": ["list-plugins"],
            "toolkit list-plugins --json": ["list-plugins", "--json"],
            "toolkit status (a folder without an experiment)": ["status", folder],
            "toolkit check-data (40 files)": ["check-data", str(recipe)],
        }
        rows = [
            alternate(
                lambda arguments=arguments: run([*TOOLKIT, *arguments]),
                lambda: run([sys.executable, "-c", "import speechbrain"]),
            ).row(name)
            for name, arguments in commands.items()
        ]
    Result(
        "startup.py",
        "Light commands, each in a process of its own.",
        'Opponent: python -c "import speechbrain", in benchmarks/startup.py.',
        rows,
    ).report()


if __name__ == "__main__":
    main()
