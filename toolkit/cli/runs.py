"""Commands on recipes and splits: list, write, train, check. Each imports heavy modules only when it runs."""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from toolkit.cli.commands import Command, say_next
from toolkit.cli.options import OVERRIDES, as_json, columns, one_recipe, read_source, show
from toolkit.cli.tables import print_audits, print_check_report, print_folds, print_recipes, print_results
from toolkit.errors import RecipeError
from toolkit.files import write_whole
from toolkit.plugins.plugin import plugin_failures
from toolkit.terminal import say


@click.command("list-recipes", cls=Command)
@as_json
def list_recipes(as_json: bool):
    """List the recipes that come with the toolkit: every command takes them by name, from any folder."""
    from toolkit.recipe.loading import load_recipe, shipped_recipes

    rows = []
    for name, file in shipped_recipes().items():
        model = load_recipe(file).model
        comment = re.match(r"(?:#.*\n)*", file.read_text(encoding="utf-8"))[0]
        summary = re.split(r"(?<=\.)\s", " ".join(line.strip("# ") for line in comment.splitlines()))[0]
        rows.append({"name": name, "summary": summary, "levels": [*model.levels], "weights": model.pretrained})
    show(rows, print_recipes, as_json=as_json)


@click.command("new-recipe", cls=Command, epilog="docs/your-data.md shows the way from recordings to a trained system.")
@click.argument("manifest", metavar="MANIFEST|FOLDER")
@columns
@click.option("--base", metavar="RECIPE", help="By default speech/whisper if speakers are known, else sounds/mfcc.")
@click.option("--protocol", help="By default what the columns allow: given, loso or groups; random without speakers.")
@click.option(
    "--normalize",
    type=click.BOOL,
    help="Whether names that differ only in case, spaces or Unicode form are joined (true) or kept apart (false).",
)
@click.option("--name", help="The system's name; by default that of the output, else of the manifest.")
@click.option("--output", metavar="FILE", help="The recipe's file; by default NAME.yaml in the working directory.")
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
def new_recipe(manifest, name, output, overwrite, columns, normalize, **options):
    """Write a recipe for your recordings, and show who would train, validate and test.

    MANIFEST is a table (.csv, .json) with columns path, label and, if known, speaker; FOLDER has a folder of recordings
    for each class.
    """
    from toolkit.recipe.loading import as_overrides
    from toolkit.training.proposal import propose

    data = Path(os.path.normpath(Path(manifest).absolute())).stem  # `.` has the folder's name
    stem = Path(output).stem if output else re.sub(r"[^\w.+-]+", "_", data).strip("._+-") or "mine"
    file = Path(output or f"{name or stem}.yaml")
    if file.suffix not in (".yaml", ".yml"):
        raise RecipeError(f"--output {file}: a recipe's name ends in .yaml.")
    if os.path.lexists(file) and not overwrite:
        raise RecipeError(f"{file} exists already: give --overwrite, or another --output.")
    given = {"name": name or stem, "corpus.args.columns": columns, "normalize": normalize}
    overrides = as_overrides({key: value for key, value in given.items() if value is not None})
    proposal = propose(manifest, overrides, **options)
    write_whole(file, proposal.recipe, RecipeError, "choose another --output")
    click.echo(proposal.recipe.splitlines()[0].removeprefix("# "))
    print_folds(proposal.folds)
    for note in proposal.notes:
        say(f"NOTE: {note}")
    click.echo(file)
    say_next("train" if proposal.trainable else "check-data", file)


@click.command("train", cls=Command, context_settings=OVERRIDES)
@one_recipe
@click.option("--fold", help="Which fold to test, by name; by default the protocol's first.")
@click.option("--seed", type=int, help="Seed of the weights, the batches and all random draws.")
@click.option("--output_folder", "--output-folder", help="Where the run's folder goes; by default results/.")
@click.option("--device", help="cpu, cuda, cuda:1, ...; by default a GPU if there is one.")
@click.option("--init_from", "--init-from", help="A bundle whose levels and fusion the training starts from.")
@click.option("--precision", help="fp32, bf16 or fp16.")
@click.option(
    "--profile", is_flag=True, help="Print the most expensive parts of a step; a trace goes into the run's folder."
)
@click.pass_context
def train(ctx, words, profile, **options):
    """Train the system of RECIPE on one fold, test it, and write the results into a folder.

    Any key of the recipe can be replaced, nested ones too: --model.fusion.args.dim 64. The same command again continues
    an interrupted run. The last line of standard output is the path of results.json. Under torchrun, its processes
    train one system together.
    """
    from toolkit.training.launch import together

    with together(), plugin_failures():
        source = read_source(words, search_folder=ctx.obj, **options)

        from toolkit.distributed import rank
        from toolkit.training.preparation import prepare
        from toolkit.training.run import Run
        from toolkit.training.run_folder import read_results

        preparation = prepare(source)
        trace = Path("profile.json") if profile else None  # in the run's folder
        results = Run(preparation, say=say, progress=sys.stderr.isatty(), trace=trace).train()
        if rank() == 0:
            print_results(read_results(results))
            click.echo(results)
            recipe = preparation.source.recipe
            if ctx.obj is None:  # only then does `toolkit experiment` find the recipe by the same words
                again = _words_for_experiment(words, options)
                say_next("experiment", *again, "--output", f"{recipe.name}-folds", what=", every fold and a report")
            if all(spec.source != "shuffled" for spec in recipe.model.covariates.values()):
                say_next("export", results.parent, f"{recipe.name}.zip", what=", the system as a file")


@click.command("check-data", cls=Command, context_settings=OVERRIDES)
@one_recipe
@as_json
@click.pass_context
def check_data(ctx, words, as_json, **options):
    """Count the corpus of RECIPE by speaker and class, and check every audio file.

    Exit code 1 if something would stop a training.
    """
    source = read_source(words, search_folder=ctx.obj, **options)

    from toolkit.training.data_check import check_source

    report = check_source(source)
    show(report, print_check_report, as_json=as_json)
    ctx.exit(1 if report.stops else 0)


@click.command("audit-split", cls=Command)
@click.argument("split", metavar="MANIFEST|FOLDER")
@columns
@click.option("--column", help="Column of parts, or of folds that test in turn; by default split, fold or group.")
@click.option("--speaker-pattern", "pattern", metavar="REGEX", help="Its groups find the speaker in a file's name.")
@click.option("--data_folder", "--data-folder", help="Where the audio is, if not where the lists say.")
@as_json
def audit_split(split, as_json, **options):
    """Check whether a split is honest: show what its parts share but should not.

    It compares speakers, audio, changed copies of audio (level, rate, MP3, silence), sentences, and the balance of
    classes and genders. FOLDER holds lists that are named by their part, such as train.txt or fold_1/dev.lst with one
    path per line, or EmoBox's .jsonl. Exit code 1 if something leaks.
    """
    from toolkit.corpus.splits import audit_splits, read_splits

    found = audit_splits(read_splits(split, **options))
    show(found, print_audits, as_json=as_json)
    sys.exit(1 if any(problem["severity"] == "error" for fold in found for problem in fold["problems"]) else 0)


def _words_for_experiment(words: Sequence[str], options: Mapping[str, Any]) -> list[str]:
    """What `toolkit train` was given, as `toolkit experiment` takes it."""
    columns = ",".join(f"{name}={column}" for name, column in (options["columns"] or {}).items())
    kept = ("data_folder", "manifest", "protocol", "init_from", "precision")
    given = {"columns": columns or None, **{key: options[key] for key in kept}}
    words = [*words, *(f"--{key}={value}" for key, value in given.items() if value is not None)]
    return [*words, "--trust-recipe"] if options["trust"] else words
