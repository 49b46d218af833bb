"""The commands on one recipe: train it, check its data. Each imports what is heavy inside itself."""

import json
import os
import stat
import sys
from pathlib import Path

import click

from toolkit.cli.commands import Command
from toolkit.cli.options import OVERRIDES, one_recipe, read_source
from toolkit.cli.tables import print_counts, print_results
from toolkit.errors import RecipeError, printable
from toolkit.plugins.plugin import plugin_failures
from toolkit.terminal import quiet_libraries, say

PROFILE = "profile.json"  # in the run's folder


@click.command("train", cls=Command, context_settings=OVERRIDES)
@one_recipe
@click.option("--fold", help="Which fold to test, by name; by default the protocol's first.")
@click.option("--seed", type=int, help="Of the weights, the batches and all random draws.")
@click.option("--output_folder", help="Where the run's folder goes; by default results/.")
@click.option("--device", "training__device", help="cpu, cuda, cuda:1, ...; by default a GPU if there is one.")
@click.option("--init_from", "training__init_from", help="A bundle whose levels and fusion the training starts from.")
@click.option("--precision", "training__precision", help="fp32, bf16 or fp16.")
@click.option(
    "--profile", is_flag=True, help="Print the most expensive parts of a step; a trace goes into the run's folder."
)
@click.option("--profile-file", help="The same, with the trace in this file.")
@click.pass_context
def train(ctx, words, profile, profile_file, **options):
    """Train the system of RECIPE on one fold, test it, and write the results into a folder.

    Any key of the recipe can be replaced, nested ones too: --model.fusion.args.dim 64. The same command again continues
    an interrupted run. The last line printed is the path of results.json. Under torchrun, its processes train the one
    system together.
    """
    from toolkit.training.launch import together

    with together(), plugin_failures():
        source = read_source(words, search_folder=ctx.obj, **options)
        trace = _trace(profile_file) if profile_file is not None else Path(PROFILE) if profile else None

        from toolkit.distributed import rank
        from toolkit.training.preparation import prepare
        from toolkit.training.run import Run
        from toolkit.training.run_folder import read_results

        preparation = prepare(source)
        quiet_libraries()
        results = Run(preparation, say=say, progress=sys.stderr.isatty(), trace=trace).train()
        if rank() == 0:
            print_results(read_results(results))
            click.echo(results)


@click.command("check-data", cls=Command, context_settings=OVERRIDES)
@one_recipe
@click.option("--json", "as_json", is_flag=True, help="Print counts and problems as JSON.")
@click.pass_context
def check_data(ctx, words, as_json, **options):
    """Count the corpus of RECIPE by speaker and class, and check every audio file.

    Exit code 1 if something would stop a training.
    """
    source = read_source(words, search_folder=ctx.obj, **options)

    from toolkit.corpus.checks import summarise
    from toolkit.training.preparation import check_source

    report = check_source(source)
    if as_json:
        click.echo(json.dumps(report.as_json(), indent=2))
    else:
        print_counts(report.counts)
        for line in [*report.notes, *summarise(report.problems)]:
            click.echo(printable(line))
    ctx.exit(1 if report.stops else 0)


def _trace(profile_file: str) -> Path:
    trace = Path(profile_file).absolute()
    if not os.path.isdir(trace.parent):
        raise RecipeError(f"--profile-file {profile_file}: the folder {trace.parent} does not exist.")
    try:
        fits = stat.S_ISREG(trace.stat().st_mode)
    except (OSError, ValueError) as error:
        fits = isinstance(error, FileNotFoundError)
    if not fits:
        raise RecipeError(f"--profile-file {profile_file}: a trace cannot be written to what has this name.")
    return trace
