"""`--profile`: a trace, the most expensive parts of a step, and the same result as without."""

import json
from pathlib import Path

import pytest
from small_system import write_recipe

from toolkit.errors import CheckpointError
from toolkit.training.loop.profiling import LEFT_OUT, SHOWN
from toolkit.training.preparation import load_source, prepare
from toolkit.training.run import Run


def train(recipe: Path, output: str, *overrides: str, trace: Path | None = None) -> tuple[Path, list[str]]:
    """The run's folder, and the lines that the run printed."""
    lines = []
    source = load_source(recipe, [f"--output_folder={recipe.parent / output}", *overrides])
    return Run(prepare(source), say=lines.append, trace=trace).train().parent, lines


def test_a_profile_has_the_parts_of_a_step_and_changes_nothing(tmp_path):
    recipe = write_recipe(tmp_path)
    plain, _ = train(recipe, "plain")
    profiled, lines = train(recipe, "profiled", trace=Path("profile.json"))
    assert profiled.name == plain.name
    assert (profiled / "predictions.csv").read_bytes() == (plain / "predictions.csv").read_bytes()
    first = next(index for index, line in enumerate(lines) if line.startswith("Profile of 5 steps"))
    rows = [line.rsplit(maxsplit=4) for line in lines[first + 1 : first + 1 + SHOWN]]
    known = {"level mfcc", "fusion", "head emotion", "head level", "losses", "backward", "optimizer"}
    assert {name.strip() for name, *_ in rows} <= known | {"waiting for a batch"}
    milliseconds = [float(row[1]) for row in rows]
    assert milliseconds == sorted(milliseconds, reverse=True) and milliseconds[-1] > 0
    assert sum(float(row[3]) for row in rows) <= 100.5  # parts of this system do not contain each other
    assert "Trace, for" in lines[first + 1 + SHOWN]
    events = json.loads((profiled / "profile.json").read_text())["traceEvents"]
    assert known <= {event["name"] for event in events}


def test_a_training_of_too_few_steps_says_so(tmp_path):
    folder, lines = train(write_recipe(tmp_path), "short", "--training.epochs=1", trace=tmp_path / "trace.json")
    assert f"Nothing was profiled: the first {LEFT_OUT} steps are left out, and no more were trained." in lines
    assert (folder / "results.json").is_file() and not (tmp_path / "trace.json").exists()


def test_a_trace_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(CheckpointError, match=r"trace cannot be written to .*gone"):
        train(write_recipe(tmp_path), "run", trace=tmp_path / "gone" / "trace.json")
