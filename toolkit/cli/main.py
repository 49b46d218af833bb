"""The commands. Thin: each imports what it needs inside itself, so that light commands stay light."""

import json
import sys

import click

from toolkit.cli.bundles import compare_command, evaluate_command, export_command, predict_command
from toolkit.cli.commands import Commands
from toolkit.cli.plugins import check_plugin, list_plugins, new_plugin, show_plugin


@click.group(cls=Commands)
@click.version_option(package_name="audio-classification-toolkit", prog_name="toolkit")
def main():
    """Audio classification with deep learning from swappable parts."""


for command in (list_plugins, show_plugin, check_plugin, new_plugin):
    main.add_command(command)
for command in (export_command, predict_command, evaluate_command, compare_command):
    main.add_command(command)


def _recipe_options(command):
    """What every command that reads recipes and their data takes."""
    for option in (
        click.option("--data_folder", help="Where the corpus is; else its environment variable."),
        click.option("--manifest", help="A CSV or JSON manifest to use instead of the recipe's corpus."),
        click.option("--trust-recipe", is_flag=True, help="Allow YAML tags that run code."),
    ):
        command = option(command)
    return command


def _one_recipe(command):
    """What the commands on one recipe take."""
    for option in (
        click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="RECIPE [--KEY VALUE]..."),
        click.option("--protocol", help="Replaces protocol.name: loso, session-out, groups, given, ..."),
    ):
        command = option(command)
    return _recipe_options(command)


def _recipes_and_overrides(words):
    """Recipes are the words that are neither an override's key nor its value."""
    recipes, overrides, value_of_key = [], [], False
    for word in words:
        if not value_of_key and not word.startswith("--"):
            recipes.append(word)
        else:
            overrides.append(word)
            value_of_key = not value_of_key and "=" not in word
    if not recipes:
        raise click.UsageError("Missing the recipe: RECIPE [--KEY VALUE]...")
    return recipes, overrides


def _recipe_and_overrides(words):
    """The first recipe; further words are left among the overrides, which refuse them by name."""
    recipes, overrides = _recipes_and_overrides(words)
    return recipes[0], [*overrides, *recipes[1:]]


def _source(words, *, data_folder, manifest, trust_recipe, search_folder, **shortcuts):
    """The recipe with its data; shortcuts are options that stand for an override."""
    from toolkit.training.preparation import load_source

    recipe, tokens = _recipe_and_overrides(words)
    for key, value in shortcuts.items():
        if value is not None:
            tokens += [f"--{key.replace('__', '.')}={value}"]
    return load_source(
        recipe, tokens, data_folder=data_folder, manifest=manifest, search_folder=search_folder, trust=trust_recipe
    )


@main.command("train", context_settings={"ignore_unknown_options": True})
@_one_recipe
@click.option("--fold", help="Which fold to test, by name; the protocol's first where not given.")
@click.option("--seed", type=int, help="Of the weights, the batches and all random draws.")
@click.option("--output_folder", help="Where the run's folder goes; results/ where not given.")
@click.option("--device", help="cpu, cuda, cuda:1, ...; a GPU if there is one where not given.")
@click.option("--precision", help="fp32, bf16 or fp16.")
@click.option("--profile", is_flag=True, help="Print the dearest places of a step; a trace goes into the run's folder.")
@click.option("--profile-file", help="The same, with the trace in this file.")
@click.pass_context
def train(ctx, words, protocol, fold, seed, output_folder, device, precision, profile, profile_file, **options):
    """Train the system of RECIPE on one fold, test it, and fill a folder with what was found.

    Any key of the recipe can be replaced, nested ones too: --model.fusion.args.dim 64. An interrupted run goes on where
    it stopped when the same command is given again. The last line printed is the path of results.json. Under torchrun,
    its processes train the one system together.
    """
    from toolkit.plugins.failures import plugin_failures
    from toolkit.training.launch import together

    shortcuts = {"protocol__name": protocol, "fold": fold, "seed": seed, "output_folder": output_folder}
    shortcuts |= {"training__device": device, "training__precision": precision}
    with together(), plugin_failures():
        source = _source(words, search_folder=ctx.obj, **options, **shortcuts)
        from toolkit.cli.train import train

        train(source, profile=profile, profile_file=profile_file)


@main.command("check-data", context_settings={"ignore_unknown_options": True})
@_one_recipe
@click.option("--json", "as_json", is_flag=True, help="Print counts and problems as JSON.")
@click.pass_context
def check_data(ctx, words, protocol, as_json, **options):
    """Count the corpus of RECIPE by speaker and class, and listen to every file.

    Exit code 1 if something would stop a training.
    """
    source = _source(words, search_folder=ctx.obj, protocol__name=protocol, **options)
    from toolkit.corpus.checks import summarise
    from toolkit.training.preparation import check_source

    report = check_source(source)
    if as_json:
        click.echo(json.dumps(report.as_json(), indent=2))
    else:
        from toolkit.cli.tables import print_counts

        print_counts(report.counts)
        for line in [*report.notes, *summarise(report.problems)]:
            click.echo(line)
    ctx.exit(1 if report.stops else 0)


@main.command("experiment", context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="RECIPE... [--KEY VALUE]...")
@_recipe_options
@click.option(
    "--folds", default="all", show_default=True, help="Names of folds, for example 1M,1F; all takes every one."
)
@click.option("--seeds", default="1", show_default=True, help="For example 1,2,3.")
@click.option("--protocol", help="One or more, for example loso,loso-test-epoch; the recipes' own if not given.")
@click.option("--output", required=True, help="The experiment's folder.")
@click.option("--jobs", type=click.IntRange(1), help="Trainings at a time on this machine; 1 if not given.")
@click.option("--gpus", help="One training at a time on each of these GPUs, for example 0,1.")
@click.option("--threads", type=click.IntRange(1), help="Of each training; its share of the cores if not given.")
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

    recipes, overrides = _recipes_and_overrides(words)
    refuse_options_of_one_run(overrides)
    workers = WorkerOptions(jobs, tuple(gpus.split(",")) if gpus else (), threads, scheduler, read_amounts(resources))
    sources = [_source([recipe, *overrides], search_folder=None, **options) for recipe in recipes]
    failed = conduct(sources, workers, folds=folds, seeds=seeds, protocols=protocol, output=output)
    sys.exit(1 if failed else 0)


@main.command("status")
@click.argument("folder", metavar="DIR")
@click.option("--watch", is_flag=True, help="Show it again every two seconds, until Ctrl-C.")
def status(folder: str, watch: bool):
    """Show the progress of the experiment in DIR."""
    from toolkit.experiment.command import show_status

    show_status(folder, watch=watch)


@main.command("report")
@click.argument("folder", metavar="DIR")
@click.option("--baseline", help="The system to compare with; the experiment's first where not given.")
@click.option("--pair", help="Two systems to draw side by side, as ser,mf_mtl_cr.")
@click.option("--protocol", help="The one whose figures are shown; the experiment's first where not given.")
@click.option("--tsne-fold", help="The fold whose embeddings are drawn; the first where not given.")
@click.option("--speakers", help="Test folds whose accuracy is drawn against epochs, as 1M,1F,2M.")
@click.option("--output", help="Where report.html, tables/ and figures/ go; DIR where not given.")
def report(folder, baseline, pair, protocol, tsne_fold, speakers, output):
    """Write report.html, tables and figures of the experiment in DIR."""
    from toolkit.experiment.outcome import read_experiment
    from toolkit.report import write_report

    outcome = read_experiment(folder)
    page = write_report(
        outcome.with_baseline(baseline) if baseline else outcome,
        pair=tuple(pair.split(",")) if pair else None,
        protocol=protocol,
        tsne_fold=tsne_fold,
        speakers=tuple(speakers.split(",")) if speakers else None,
        output=output,
    )
    click.echo(page)


@main.group("cache", cls=Commands)
def cache():
    """Front ends' features that are kept on disk for all runs: what is there, and deleting it."""


@cache.command("info")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def cache_info_command(as_json: bool):
    """Show the cache's folder, size and limit, and a line for each front end."""
    from toolkit.cli.cache import cache_info, print_cache_info

    if as_json:
        click.echo(json.dumps(cache_info(), indent=2))
    else:
        print_cache_info()


@cache.command("clear")
@click.argument("names", nargs=-1, metavar="[FRONT_END]...")
@click.option("--yes", is_flag=True, help="Do not ask.")
def cache_clear_command(names: tuple[str, ...], yes: bool):
    """Delete the features of every FRONT_END, by its name or how that begins; all where none is given.

    Runs that read them at the moment go on. Exit code 1 if one is being computed, which stays.
    """
    from toolkit.cli.cache import chosen, clear
    from toolkit.data.cache.store import features_folder, megabytes

    front_ends = chosen(names)
    if not front_ends:
        click.echo(f"Nothing to delete in {features_folder()}.")
        return
    if not yes:
        size = megabytes(sum(stored.bytes for stored in front_ends))
        listed = ", ".join(stored.path.name for stored in front_ends)
        click.confirm(f"Delete {size} of {listed} in {features_folder()}?", abort=True)
    freed, busy = clear(front_ends)
    click.echo(f"Freed {megabytes(freed)}.")
    for name in busy:
        click.echo(f"{name} is being computed by a run and stays.", err=True)
    sys.exit(1 if busy else 0)


if __name__ == "__main__":
    sys.exit(main())
