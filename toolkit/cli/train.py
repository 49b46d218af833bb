"""`toolkit train`: a prepared recipe is trained, and the reader sees what came of it."""

import sys
from pathlib import Path

import click

from toolkit.cli.tables import print_results
from toolkit.distributed import rank
from toolkit.errors import RecipeError
from toolkit.terminal import quiet_libraries
from toolkit.training.preparation import Source, prepare
from toolkit.training.run import Run
from toolkit.training.run_folder import read_results

PROFILE = "profile.json"  # in the run's folder


def train(source: Source, *, profile: bool, profile_file: str | None) -> None:
    """Train one fold and print its test; among several ranks, the first one prints.

    Args:
        source: the recipe with its data.
        profile: whether to profile some steps.
        profile_file: where the trace goes, which is asked for by that; the run's folder where None.

    Raises:
        RecipeError: if the trace's folder is not there.
    """
    trace = Path(PROFILE) if profile else None
    if profile_file is not None:
        trace = Path(profile_file).absolute()
        if not trace.parent.is_dir():
            raise RecipeError(f"--profile-file {profile_file}: there is no folder {trace.parent}.")
    preparation = prepare(source)
    quiet_libraries()
    run = Run(preparation, say=lambda line: click.echo(line, err=True), progress=sys.stderr.isatty(), trace=trace)
    results = run.train()
    if rank() == 0:
        print_results(read_results(results))
        click.echo(results)
