"""Commands on experiments and searches: run, show, report. Each imports heavy modules only when it runs."""

import re
import sys
from importlib.util import find_spec
from pathlib import Path

import click

from toolkit.cli.commands import Command, say_next
from toolkit.cli.options import (
    OVERRIDES,
    names,
    one_folder,
    one_recipe,
    read_source,
    recipe_options,
    recipes_and_overrides,
    worker_options,
)
from toolkit.errors import ExperimentError

SAMPLERS = click.Choice(["tpe", "random", "gp", "cmaes", "qmc", "bruteforce"])
PRUNERS = click.Choice(["median", "hyperband", "successivehalving", "nop"])


def _seeds(ctx: click.Context, option: click.Parameter, text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d{1,18}(,\d{1,18})*", text, re.ASCII):
        raise click.BadParameter(f"whole numbers from 0 with commas between them are needed, not {text!r}.")
    return tuple(dict.fromkeys(map(int, text.split(","))))


@click.command("experiment", cls=Command, context_settings=OVERRIDES)
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="RECIPE... [--KEY VALUE]...")
@recipe_options
@click.option(
    "--folds", default="all", show_default=True, callback=names, help="Names of folds, for example 1M,1F; or all."
)
@click.option("--seeds", default="1", show_default=True, callback=_seeds, help="Seeds, for example 1,2,3.")
@click.option(
    "--protocol", callback=names, help="Protocols, for example loso,loso-test-epoch; by default the recipes' own."
)
@click.option("--output", required=True, help="The experiment's folder.")
@worker_options
def experiment(words, folds, seeds, protocol, output, jobs, gpus, threads, scheduler, resources, **options):
    """Train every RECIPE on every fold with every seed. The same command again runs what is missing.

    The first recipe is the baseline. Each system, protocol, fold and seed is a cell with a run of its own. Finished
    cells are kept, interrupted ones continue where they stopped, failed ones are recorded and tried again next time.
    `toolkit status DIR` shows the progress, `toolkit report DIR` the results. Exit code 1 if a cell failed.
    """
    from toolkit.experiment.command import run_experiment
    from toolkit.experiment.engine import WorkerOptions
    from toolkit.experiment.plan import make_plan

    recipes, overrides = recipes_and_overrides(words, varied=("fold", "seed", "output_folder", "protocol.name"))
    workers = WorkerOptions(jobs, gpus, threads, scheduler, resources)
    sources = [read_source([recipe, *overrides], **options) for recipe in recipes]
    plan = make_plan(sources, protocols=protocol, folds=() if folds == ("all",) else folds, seeds=seeds)
    failed, done = run_experiment(plan, workers, Path(output).absolute())
    if done:
        say_next("report", output)
    sys.exit(1 if failed else 0)


@click.command("tune", cls=Command, context_settings=OVERRIDES)
@one_recipe
@click.option("--search", "space", required=True, help="A YAML file: keys of the recipe, each with a range or choices.")
@click.option("--trials", type=click.IntRange(1), required=True, help="Trials in all, those of earlier calls included.")
@click.option(
    "--folds", callback=names, help="Folds whose validation parts count, such as 1M,1F, or all; by default the first."
)
@click.option("--output", required=True, help="The search's folder.")
@click.option("--sampler", type=SAMPLERS, default="tpe", show_default=True, help="Optuna's sampler.")
@click.option("--pruner", type=PRUNERS, default="median", show_default=True, help="Optuna's pruner.")
@click.option("--storage", help="Optuna's storage, such as postgresql://...; by default a file in the search's folder.")
@worker_options
def tune(
    words, space, trials, output, folds, sampler, pruner, storage, jobs, gpus, threads, scheduler, resources, **options
):
    """Search for settings of RECIPE with the best validation score; no test part is read.

    The file of --search holds dotted keys: `training.optimizer.learning_rate: {low: 1.0e-5, high: 1.0e-2, log: true}`,
    `training.batch_size: [16, 32]`. The same command again runs what is missing; several at once share the trials.
    The last line printed is the path of the best recipe; search.md beside it shows all trials.
    """
    if find_spec("optuna") is None:
        raise ExperimentError("tune needs optuna: pip install 'audio-classification-toolkit[tune]'.")
    from toolkit.experiment.engine import WorkerOptions
    from toolkit.experiment.search import Search
    from toolkit.recipe.loading import as_overrides
    from toolkit.report.search_page import write_search

    def read(settings):
        return read_source([*words, *as_overrides(settings)], **options)

    recipes_and_overrides(words, varied=("fold", "output_folder"))  # refuses those
    workers = WorkerOptions(jobs, gpus, threads, scheduler, resources)
    folder = Path(output).absolute()
    search = Search(read, Path(space), folder, folds=folds, sampler=sampler, pruner=pruner, storage=storage)
    search.run(workers, trials=trials)
    click.echo(write_search(search))


@click.command("status", cls=Command)
@one_folder
@click.option("--watch", is_flag=True, help="Refresh it every two seconds, until Ctrl-C.")
def status(folder: Path, watch: bool):
    """Show the progress of the experiment in DIR."""
    from toolkit.experiment.command import show_status

    show_status(folder, watch=watch)


@click.command("report", cls=Command)
@one_folder
@click.option("--baseline", help="The system to compare with; by default the experiment's first.")
@click.option("--systems", callback=names, help="The systems to show, for example ser,mf; by default all.")
@click.option("--pair", callback=names, help="Two systems to draw side by side, for example ser,mf_mtl_cr.")
@click.option("--protocol", help="The protocol whose results are shown; by default the experiment's first.")
@click.option("--tsne-fold", help="The fold whose embeddings are drawn; by default the first.")
@click.option(
    "--speakers", callback=names, help="Test folds whose accuracy is drawn against epochs, for example 1M,1F,2M."
)
@click.option("--output", help="Where report.html, tables/ and figures/ go; by default DIR.")
def report(folder, **options):
    """Write report.html, tables and figures of the experiment in DIR."""
    from toolkit.report.evidence import Evidence
    from toolkit.report.page import write_report

    click.echo(write_report(folder, **options))
    if best := Evidence(folder, systems=options["systems"]).best_run():
        system = best.cell.system
        say_next("export", best.folder, f"{system}.zip", what=f", for {system}, the best by its validation parts")
