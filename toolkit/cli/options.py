"""Options and arguments that several commands share, and how RECIPE [--KEY VALUE]... is read."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from toolkit.training.preparation import Source

WHERE = ("data_folder", "manifest", "search_folder", "trust")  # options about a recipe other than overrides
INSTEAD = {"fold": "--folds", "seed": "--seeds", "output_folder": "--output", "protocol.name": "--protocol"}
OVERRIDES = {"ignore_unknown_options": True}  # context settings of a command that takes a recipe's --KEY VALUE


def _pairs(ctx: click.Context, option: click.Parameter, words: Sequence[str]) -> dict[str, str]:
    pairs = [[part.strip() for part in pair.partition("=")] for word in words for pair in word.split(",")]
    found = {name: value for name, _, value in pairs}
    if not all(name and equals for name, equals, _ in pairs) or len(found) < len(pairs):
        raise click.BadParameter(f"{option.metavar} is needed, each name once, not {','.join(words)!r}.")
    return found


def names(ctx: click.Context, option: click.Parameter, text: str | None) -> tuple[str, ...]:
    """Names with commas between them, as in CSV: `"Doe, J",X` are two; none if the option is not given."""
    return () if text is None else tuple(next(csv.reader([text])) or [text])


def _amounts(ctx: click.Context, option: click.Parameter, words: Sequence[str]) -> dict[str, float]:
    above_0 = click.FloatRange(0, min_open=True)
    return {name: above_0.convert(amount, option, ctx) for name, amount in _pairs(ctx, option, words).items()}


def _combined(*options: Callable) -> Callable:
    def decorate(command: Callable) -> Callable:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


columns = click.option(
    "--columns",
    multiple=True,
    callback=lambda *given: _pairs(*given) or None,
    metavar="NAME=COLUMN,...",
    help="The manifest's own column names: path=filename,label=category, or path={folder}/{name}.wav.",
)
hop = click.option(
    "--hop", "hop_s", type=float, help="Seconds from one segment to the next; by default they do not overlap."
)
abstain = click.option(
    "--abstain",
    default="0",
    metavar="RULE",
    help="When to give no label: below a confidence (0.6), so that this share is labelled (coverage:0.8), or so that "
    "at most this share of the labels is wrong (error:0.1).",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
one_folder = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
one_plugin = click.argument("words", nargs=-1, required=True, metavar="[KIND] NAME")
recipe_options = _combined(
    click.option(
        "--data_folder", "--data-folder", help="The corpus's folder; by default from its environment variable."
    ),
    click.option("--manifest", help="A CSV or JSON manifest to use instead of the recipe's corpus."),
    columns,
    click.option("--trust-recipe", "trust", is_flag=True, help="Allow YAML tags that run code."),
)
one_recipe = _combined(
    click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="RECIPE [--KEY VALUE]..."),
    recipe_options,
    click.option("--protocol", help="Replaces protocol.name: loso, session-out, groups, given, ..."),
)
worker_options = _combined(
    click.option("--jobs", type=click.IntRange(1), help="Trainings at a time on this machine; by default 1."),
    click.option("--gpus", callback=names, help="One training at a time on each of these GPUs, for example 0,1."),
    click.option(
        "--threads", type=click.IntRange(1), help="Per training; by default its share of cores, or 1 if it is small."
    ),
    click.option("--scheduler", help="Address of a Dask scheduler, whose workers train instead of this machine."),
    click.option(
        "--resource",
        "resources",
        multiple=True,
        callback=_amounts,
        metavar="NAME=AMOUNT",
        help="What a training needs from a Dask worker, for example GPU=1.",
    ),
)
model_options = _combined(
    click.option("--device", help="cpu, cuda, cuda:1, ...; by default a GPU if there is one."),
    click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True, help="Segments per batch."),
    click.option(
        "--covariate",
        "covariates",
        multiple=True,
        callback=_pairs,
        metavar="NAME=VALUE,...",
        help="What the system needs besides audio, for example gender=F; gender=@COLUMN reads it from the manifest.",
    ),
    columns,
)
labelled_options = _combined(
    click.argument("manifest", metavar="MANIFEST"),
    as_json,
    click.option(
        "--map",
        "label_map",
        multiple=True,
        callback=_pairs,
        metavar="LABEL=CLASS,...",
        help="The system's class for a label of the manifest: angry=ang; angry= leaves its utterances out.",
    ),
    model_options,
)


def recipes_and_overrides(words: Sequence[str], varied: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """Split words into recipes and overrides, the keys and their values; keys that the command varies are refused."""
    recipes, overrides, value_of_key = [], [], False
    for word in words:
        if not value_of_key and not word.startswith("--"):
            recipes.append(word)
        else:
            overrides.append(word)
            value_of_key = not value_of_key and "=" not in word
    if not recipes:
        raise click.UsageError("Missing the recipe: RECIPE [--KEY VALUE]...")
    for key in (word[2:].partition("=")[0] for word in overrides if word.startswith("--")):
        if key in varied:
            raise click.UsageError(f"--{key} is for one run: this command takes {INSTEAD[key]}.")
    return recipes, overrides


def read_source(
    words: Sequence[str], *, columns: dict[str, str] | None = None, protocol: str | None = None, **options: Any
) -> "Source":
    """Read the recipe, with where its data is; recipes after the first are overrides, and as such refused by name."""
    from toolkit.training.preparation import load_source

    recipes, overrides = recipes_and_overrides(words)
    where = {name: options.pop(name) for name in WHERE if name in options}
    options |= {"protocol.name": protocol, "corpus.args.columns": json.dumps(columns) if columns else None}
    given = [f"--{key}={value}" for key, value in options.items() if value is not None]
    return load_source(recipes[0], [*overrides, *recipes[1:], *given], **where)


def show(result: Any, print_page: Callable[[Any], None], *, as_json: bool) -> None:
    """Print a result as JSON, or as a page for a reader."""
    if not as_json:
        print_page(result)
    else:
        click.echo(json.dumps(result.as_dict() if hasattr(result, "as_dict") else result, indent=2))
