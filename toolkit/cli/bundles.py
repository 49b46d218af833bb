"""Commands that make and use bundles. Each imports heavy modules only when it runs."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from toolkit.cli.commands import Command, say_next
from toolkit.cli.options import abstain, hop, labelled_options, model_options, show
from toolkit.terminal import say

LIMIT = click.FloatRange(0, 10_000, min_open=True)
CONDITIONS = click.Choice(["softer", "louder", "noise-20", "noise-10", "noise-0", "telephone", "mp3", "room", "half"])


@click.command("export", cls=Command)
@click.argument("run", metavar="RUN")
@click.argument("bundle", metavar="[BUNDLE]", required=False)
@click.option("--onnx", is_flag=True, help="Add model.onnx, compared with torch before it is kept.")
@click.option("--license", help="The weights' licence for the card, by the hub's name: apache-2.0, cc-by-nc-4.0, ...")
@click.option("--push", metavar="USER/NAME", help="Push it to this repository on the hub; a new one is private.")
def export(run: str, bundle: str | None, push: str | None, **options):
    """Write the trained system of RUN to BUNDLE: a folder, or one file if its name ends in .zip.

    RUN is the folder of a finished run, or its results.json. A bundle holds weights, configuration and a model card,
    all that is needed to use the system elsewhere, and no code. The last line of standard output is its path, or its
    name on the Hugging Face hub.
    """
    from toolkit.inference.bundle.export import export_bundle
    from toolkit.model.hub import PREFIX, on_hub, push_bundle

    if bundle is None and push is None:
        raise click.UsageError("Missing BUNDLE, or --push USER/NAME.")
    if bundle is not None and (named := on_hub(bundle)):
        raise click.UsageError(f"{bundle} is a name on the hub: --push {named[0]} pushes there.")
    if push is not None:
        on_hub(f"{PREFIX}{push}")  # refuses anything but a name
    with TemporaryDirectory() as folder:
        path = export_bundle(run, bundle or Path(folder) / "bundle", **options, say=say)
        if bundle is not None:
            click.echo(path)
        if push is not None:
            click.echo(bundle := push_bundle(path, push))
    say_next("predict", bundle, "FOLDER", what=", with a folder of recordings")


@click.command("predict", cls=Command)
@click.argument("bundle", metavar="BUNDLE")
@click.argument("names", nargs=-1, metavar="FILE|FOLDER|MANIFEST|-...")
@click.option("--microphone", is_flag=True, help="Label what the microphone hears, until Ctrl-C.")
@click.option(
    "--format",
    type=click.Choice(["table", "csv", "jsonl", "rttm", "audacity", "textgrid"]),
    help="The output's format; the last three hold intervals for annotation programs. By default csv, jsonl or rttm if "
    "--output has that ending, else table.",
)
@click.option("--segments", is_flag=True, help="One row per segment instead of one per recording.")
@hop
@abstain
@click.option(
    "--output",
    callback=lambda ctx, option, text: None if text == "-" else text,
    help="A file, by default standard output (-); for audacity and textgrid a folder.",
)
@model_options
def predict(bundle: str, names: tuple[str, ...], microphone: bool, **options):
    """Label audio with the system in BUNDLE: a folder, a .zip, or hf:USER/NAME[@REVISION] on the Hugging Face hub.

    Folders are searched for audio files; a manifest (.csv, .json) needs a column path, and may have start and end; -
    reads paths from standard input, one per line. Files that cannot be read are named on standard error and skipped;
    the exit code is then 1. With --microphone there is one row per segment, and one segment per second.
    """
    from toolkit.inference.predict.command import predict as write_predictions
    from toolkit.inference.predict.microphone import listen

    if microphone == bool(names):
        raise click.UsageError("Name what to label, or give --microphone without a name.")
    ending = Path(options["output"] or "").suffix[1:].lower()
    options["format"] = options["format"] or (ending if ending in ("csv", "jsonl", "rttm") else "table")
    if microphone:
        kept = ("format", "hop_s", "abstain", "output", "device", "covariates")
        listen(bundle, **{name: options[name] for name in kept})
    sys.exit(0 if write_predictions(bundle, names, **options) else 1)


@click.command("demo", cls=Command)
@click.argument("bundles", nargs=-1, required=True, metavar="BUNDLE...")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 lets others in.")
@click.option("--port", type=click.IntRange(1, 65535), help="By default 7860, or the next free one.")
@click.option("--max-minutes", type=LIMIT, default=10, show_default=True, help="The longest recording accepted.")
@click.option("--max-megabytes", type=LIMIT, default=50, show_default=True, help="The largest file accepted.")
@hop
@abstain
@click.option("--device", help="cpu, cuda, cuda:1, ...; by default a GPU if there is one.")
def demo(bundles: tuple[str, ...], **options):
    """Serve a page that labels recordings, from a microphone or a file, with every BUNDLE side by side.

    A BUNDLE is a folder, a .zip, or hf:USER/NAME[@REVISION] on the Hugging Face hub. The page needs no internet, and a
    recording is deleted once it is labelled. The line on standard output is its address; Ctrl-C ends it.
    """
    from toolkit.inference.demo.serving import demo as serve

    serve(bundles, **options)


@click.command("evaluate", cls=Command)
@click.argument("bundle", metavar="BUNDLE")
@labelled_options
def evaluate(bundle: str, manifest: str, as_json: bool, **options):
    """Test the system in BUNDLE on another corpus: accuracies with intervals over speakers, confusion, calibration.

    MANIFEST (.csv, .json) needs columns path and label; speaker and gender are used if it has them. Files that cannot
    be read are named on standard error and left out; the exit code is then 1.
    """
    from toolkit.inference.predict.display import print_evaluation
    from toolkit.inference.predict.evaluation import evaluate as evaluate_bundle

    found = evaluate_bundle(bundle, manifest, **options)
    show(found, print_evaluation, as_json=as_json)
    sys.exit(1 if found["n_skipped"] else 0)


@click.command("compare", cls=Command)
@click.argument("bundle_a", metavar="BUNDLE_A")
@click.argument("bundle_b", metavar="BUNDLE_B")
@labelled_options
def compare(bundle_a: str, bundle_b: str, manifest: str, as_json: bool, **options):
    """Test the systems in BUNDLE_A and BUNDLE_B on the same audio, paired by speaker.

    Differences are those of B minus A. MANIFEST (.csv, .json) needs columns path, label and speaker. Files that cannot
    be read are named on standard error and left out for both; the exit code is then 1.
    """
    from toolkit.inference.predict.comparison import compare_systems
    from toolkit.inference.predict.display import print_comparison

    found = compare_systems([bundle_a, bundle_b], manifest, **options)
    show(found, print_comparison, as_json=as_json)
    sys.exit(1 if found["n_skipped"] else 0)


@click.command("stress", cls=Command)
@click.argument("bundle", metavar="BUNDLE")
@click.option("--condition", "only", multiple=True, type=CONDITIONS, metavar="NAME", help="Only this condition.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the noise, the room and the cut.")
@click.option("--max-drop", type=click.FloatRange(0), help="Exit with 1 if UA falls by more points than this.")
@click.option("--figure", help="Draw the table as a figure into this .png or .svg file.")
@labelled_options
def stress(bundle: str, manifest: str, as_json: bool, max_drop: float | None, figure: str | None, **options):
    """Test the system in BUNDLE on the same recordings softer, louder, noisy, by telephone, as MP3, in a room and cut.

    MANIFEST (.csv, .json) needs columns path and label; speaker and gender are used if it has them. The conditions are
    softer, louder, noise-20, noise-10, noise-0, telephone, mp3, room and half. Files that cannot be read are named on
    standard error and left out; the exit code is then 1.
    """
    from toolkit.inference.predict.comparison import stress as stress_bundle
    from toolkit.inference.predict.comparison import write_figure
    from toolkit.inference.predict.display import print_stress

    if figure is not None and not figure.endswith((".png", ".svg")):
        raise click.BadParameter(f"{figure} ends in neither .png nor .svg.", param_hint="'--figure'")
    found = stress_bundle(bundle, manifest, **options)
    show(found, print_stress, as_json=as_json)
    if figure is not None:
        write_figure(found, figure)
    drops = {title: -100 * (values["change"] or 0.0) for title, values in found["conditions"].items()}
    lost = [f"{title} ({drop:.1f})" for title, drop in drops.items() if max_drop is not None and drop > max_drop]
    if lost:
        say(f"UA falls by more than {max_drop:g} points: {', '.join(lost)}")
    sys.exit(1 if lost or found["n_skipped"] else 0)
