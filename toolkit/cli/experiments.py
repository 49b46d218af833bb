"""The commands on experiments: run one, show its progress, report it. Each imports what is heavy inside itself."""

import sys

import click

from toolkit.cli.commands import Command
from toolkit.cli.options import OVERRIDES, one_folder, read_source, recipes_and_overrides, several_recipes


@click.command("experiment", cls=Command, context_settings=OVERRIDES)
@several_recipes
@click.option(
    "--folds", default="all", show_default=True, help="Names of folds, for example 1M,1F; all takes every one."
)
@click.option("--seeds", default="1", show_default=True, help="For example 1,2,3.")
@click.option("--protocol", help="One or more, for example loso,loso-test-epoch; by default the recipes' own.")
@click.option("--output", required=True, help="The experiment's folder.")
@click.option("--jobs", type=click.IntRange(1), help="Trainings at a time on this machine; by default 1.")
@click.option("--gpus", help="One training at a time on each of these GPUs, for example 0,1.")
@click.option("--threads", type=click.IntRange(1), help="Of each training; by default its share of the cores.")
@click.option("--scheduler", help="Address of a Dask scheduler, whose workers train instead of this machine.")
@click.option(
    "--resource", "resources", multiple=True, help="What a training takes of a Dask worker, for example GPU=1."
)
def experiment(words, folds, seeds, protocol, output, jobs, gpus, threads, scheduler, resources, **options):
    """Train every RECIPE on every fold with every seed. The same command again runs what is missing.

    The first recipe is the baseline. Each system, protocol, fold and seed is a cell with a run of its own. Finished
    cells are kept, interrupted ones continue where they stopped, failed ones are recorded and tried again next time.
    `toolkit status DIR` shows the progress, `toolkit report DIR` the results. Exit code 1 if a cell failed.
    """
    from toolkit.experiment.command import WorkerOptions, conduct, read_amounts, refuse_options_of_one_run

    recipes, overrides = recipes_and_overrides(words)
    refuse_options_of_one_run(overrides)
    workers = WorkerOptions(jobs, _names(gpus) or (), threads, scheduler, read_amounts(resources))
    sources = [read_source([recipe, *overrides], **options) for recipe in recipes]
    failed = conduct(sources, workers, folds=folds, seeds=seeds, protocols=protocol, output=output)
    sys.exit(1 if failed else 0)


@click.command("status", cls=Command)
@one_folder
@click.option("--watch", is_flag=True, help="Show it again every two seconds, until Ctrl-C.")
def status(folder: str, watch: bool):
    """Show the progress of the experiment in DIR."""
    from toolkit.experiment.command import show_status

    show_status(folder, watch=watch)


@click.command("report", cls=Command)
@one_folder
@click.option("--baseline", help="The system to compare with; by default the experiment's first.")
@click.option("--pair", help="Two systems to draw side by side, for example ser,mf_mtl_cr.")
@click.option("--protocol", help="The one whose figures are shown; by default the experiment's first.")
@click.option("--tsne-fold", help="The fold whose embeddings are drawn; by default the first.")
@click.option("--speakers", help="Test folds whose accuracy is drawn against epochs, for example 1M,1F,2M.")
@click.option("--output", help="Where report.html, tables/ and figures/ go; by default DIR.")
def report(folder, pair, speakers, **options):
    """Write report.html, tables and figures of the experiment in DIR."""
    from toolkit.report import write_report

    click.echo(write_report(folder, pair=_names(pair), speakers=_names(speakers), **options))


def _names(text: str | None) -> tuple[str, ...] | None:
    return tuple(text.split(",")) if text else None
