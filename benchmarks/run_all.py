"""Run every benchmark, one after another, and write results.md from their results."""

import json
import subprocess
import sys
from pathlib import Path

from measuring import RESULTS, table

FOLDER = Path(__file__).parent
NO_SCRIPTS = (
    "gpu_rounds.py",
    "measuring.py",
    "plain_composition.py",
    "plain_system.py",
    "robustness.py",
    "run_all.py",
    "speech.py",
    "training_steps.py",
)
HEAD = """\
# Results of the benchmarks

Written by `make bench`. Contestants take turns within one run. A ratio of times is the median over rounds of the
opponent's divided by ours, with its range; memory and padding are measured once. Figures measured beside other load
are a rough guide only.
"""


def page(found: list[dict]) -> str:
    """All results as Markdown."""
    parts = [HEAD]
    for result in found:
        machine = "\n".join(f"- {name}: {value}" for name, value in result["machine"].items())
        notes = "".join(f"\n{note}\n" for note in result["notes"])
        parts.append(
            f"## {result['script']}\n\n{result['question']}\n{result['opponent']}\n\n{table(result['rows'])}\n"
            f"{notes}\n{machine}\n"
        )
    return "\n".join(parts)


def main() -> None:
    """Run the named scripts, or all; those that fail are listed at the end, and their earlier results stay."""
    names = sys.argv[1:] or [path.name for path in sorted(FOLDER.glob("*.py")) if path.name not in NO_SCRIPTS]
    failed = [name for name in names if subprocess.run([sys.executable, FOLDER / name]).returncode]
    found = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    (FOLDER / "results.md").write_text(page(found))
    print(f"Written: {FOLDER / 'results.md'}")
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
