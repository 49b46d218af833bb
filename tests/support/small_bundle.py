"""Small runs to export, and bundles to damage, for the tests of bundles."""

import csv
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from small_system import write_recipe

import toolkit
from toolkit.corpus import read_manifest
from toolkit.inference.bundle.config import CONFIG, FileFacts, own_sha256
from toolkit.inference.predict.recordings import Recording
from toolkit.statistics.confidence import at_temperature
from toolkit.training.preparation import load_source, prepare
from toolkit.training.run import Run


def train(folder: Path, *overrides: str, change: Callable[[str], str] = str) -> Path:
    """Train the small system below a folder, its recipe's text changed first; returns the run's folder."""
    recipe = folder / "small.yaml"
    if not recipe.exists():
        write_recipe(folder)
        recipe.write_text(change(recipe.read_text()))
    source = load_source(recipe, ["--training.epochs=2", *overrides])
    return Run(prepare(source), say=lambda line: None).train().parent


def with_gender(source: str) -> Callable[[str], str]:
    """Gives the recipe a gender of this source."""
    return lambda text: text.replace("  fusion:", f"  covariates:\n    gender: {{source: {source}}}\n  fusion:")


def with_levels(levels: str) -> Callable[[str], str]:
    """Replaces mfcc by other levels; the first is called wav2vec2."""
    pattern = re.compile(r"^    mfcc:.*$", re.MULTILINE)
    return lambda text: pattern.sub(lambda _: levels.rstrip(), text).replace("on: mfcc", "on: wav2vec2")


def edit_config(bundle: Path, change: Callable[[dict], object]) -> None:
    """Change config.json of a bundle's folder."""
    values = json.loads((bundle / CONFIG).read_text())
    change(values)
    (bundle / CONFIG).write_text(json.dumps(signed(values)))


def signed(values: dict) -> dict:
    """The content of config.json with its own hash, where its format has one."""
    return values if values.get("format_version") == 1 else values | {"sha256": own_sha256(values)}


def replace_file(bundle: Path, name: str, data: bytes) -> None:
    """Replace a file, and its facts in config.json."""
    (bundle / name).write_bytes(data)
    facts = FileFacts.of(data)
    edit_config(bundle, lambda values: values["files"].update({name: vars(facts)}))


def zip_of(files: dict[str, bytes], path: Path, compression: int = zipfile.ZIP_STORED) -> Path:
    """A .zip with these entries."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def rows(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "predictions.csv").read_text().splitlines()))


def predictions(path: Path, run: Path) -> np.ndarray:
    """The probabilities that a bundle gives the test part, in the order of predictions.csv: [utterances, classes]."""
    model, of = toolkit.load(path, device="cpu"), {u.id: u for u in read_manifest(run / "manifest.csv")}
    utterances = [of[row["id"]] for row in rows(run)]
    recordings = [
        Recording(u.path, u.start, u.end, {name: u.value(name) for name in model.usage.covariates}) for u in utterances
    ]
    found = np.array([list(found.probabilities.values()) for found in model.predict_many(recordings)])
    return at_temperature(found, 1 / model.usage.confidence.temperature)


def expected(run: Path, labels: tuple[str, ...]) -> np.ndarray:
    return np.array([[float(row[f"p_{label}"]) for label in labels] for row in rows(run)])
