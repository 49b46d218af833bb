"""A run's folder: its name, its lock, and its files, each written whole or not at all. Imports no torch."""

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.corpus import Utterance
from toolkit.corpus.manifests import manifest_text
from toolkit.corpus.protocols import PROTOCOLS, training_protocol
from toolkit.errors import CheckpointError, one_line
from toolkit.files import csv_text, locked, read_json, to_cell, write_whole
from toolkit.recipe.checks import check_value
from toolkit.recipe.loading import dump_yaml
from toolkit.recipe.schema import Recipe
from toolkit.statistics.metrics import summary
from toolkit.training.preparation import Preparation

RESULTS = "results.json"  # written last: if it exists, the run is finished
EPOCHS = "epochs.csv"
PREDICTIONS = "predictions.csv"
VALIDATION = "validation.csv"  # only if the validation part is not the test part
EMBEDDINGS = "embeddings.npz"
RECIPE = "recipe.yaml"
MANIFEST = "manifest.csv"
CHECKPOINTS = "checkpoints"
HISTORY = "history.json"
ORIGIN = "init_from.json"  # each level's weights and whether its backbone is random; what trained the bundle
RESULT_TYPES = {  # of the keys of results.json that are read again
    **dict.fromkeys(("system", "corpus", "protocol", "fold", "precision", "device", "hardware"), str),
    **dict.fromkeys(("seed", "n_utterances", "epoch", "epochs", "parameters"), int),
    **{"labels": list[str], "stamps": list[str], "pretrained": dict[str, str | None], "versions": dict[str, str]},
    **dict.fromkeys(("seconds", "wa", "ua", "macro_f1"), float),
    **{"synthetic": bool, "confusion": list[list[int]]},  # the last is checked against the metrics
}
OF_TEST = ("n_utterances", "labels", "confusion", "wa", "ua", "macro_f1")  # a search's trial lacks these
PROBE = "probe"  # the probe's checkpoints; its history is probe.json
# Keys that do not change a run's result. `init_from` is only a path: the hash of its weights counts, as `pretrained`
# of `run_hash`.
IRRELEVANT = {
    "": ("output_folder", "data_folder", "published"),
    "training": ("device", "workers", "checkpoint_minutes", "checkpoint_steps", "loggers", "init_from"),
}


class RunFolder:
    """The folder of one run, made when it is locked; without `writes` a process neither locks nor writes anything."""

    def __init__(self, path: Path, *, writes: bool = True):
        self.path, self.writes = Path(path), writes
        self.stamps: tuple[str, ...] = ()  # warnings about every result, written into every file

    @property
    def stamp(self) -> str:
        """All stamps in one line."""
        return "; ".join(self.stamps)

    @contextmanager
    def locked(self, *, wait: bool = False) -> Iterator[None]:
        """Lock the run. Raises: CheckpointError if it is locked, unless `wait`, or the folder is not usable."""
        if not self.writes:
            yield
            return
        remedy = "choose another --output_folder"
        with ExitStack() as stack:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                held = stack.enter_context(locked(self.path / "lock", wait=wait))
            except OSError as error:
                refused = f"The run's folder {self.path} cannot be written ({error.strerror})"
                raise CheckpointError(f"{refused}: {remedy}.") from error
            if not held:
                raise CheckpointError(f"Another process is training this run ({self.path}): wait for it, or {remedy}.")
            for partial in self.path.glob(".*.partial"):
                partial.unlink()  # a killed process left it
            yield

    def trained_with(self, system: str, protocol: str) -> list[Path]:
        """This folder, then the folders of the same run under other protocols that share its training."""
        rest = self.path.name.removeprefix(f"{system}-{protocol}-")
        others = [p for p in PROTOCOLS if p != protocol and training_protocol(p) == training_protocol(protocol)]
        return [self.path, *(self.path.with_name(f"{system}-{other}-{rest}") for other in others)]

    def delete_weights(self) -> None:
        """Delete all checkpoints, the probe's too."""
        for name in (CHECKPOINTS, PROBE) if self.writes else ():
            shutil.rmtree(self.path / name, ignore_errors=True)

    def write(self, name: str, content: bytes | str) -> None:
        """Write a file, whole or not at all, so that it survives a power failure."""
        if self.writes:
            write_whole(self.path / name, content, CheckpointError, "make room and run the command again", durable=True)

    def write_rows(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write a CSV file with the columns of its first row and, in a stamped run, a last column `note`."""
        rows = [{**row, "note": self.stamp} for row in rows] if self.stamp else rows
        cells = ([to_cell(row.get(column)) for column in rows[0]] for row in rows)
        self.write(name, csv_text([[*rows[0]], *cells]))

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a JSON file, as `write` does."""
        self.write(name, json.dumps(value, indent=2) + "\n")

    def write_inputs(self, recipe: Recipe, utterances: Iterable[Utterance]) -> None:
        """Write the recipe and the manifest."""
        comment = f"# NOTE: {self.stamp}\n" if self.stamp else ""
        note = {"note": self.stamp} if self.stamp else {}
        self.write(RECIPE, comment + dump_yaml(recipe.as_dict()))
        noted = [replace(u, extra={**u.extra, **note}) for u in utterances]
        self.write(MANIFEST, manifest_text(noted, (self.path / MANIFEST).absolute()))


class Result(dict):
    """The content of a finished run's results.json; `folder` is the run's folder."""

    def __init__(self, path: Path):
        super().__init__(read_results(path))
        self.folder = path.parent


def run_path(preparation: Preparation, versions: Mapping[str, str], pretrained: Mapping[str, str | None]) -> Path:
    """A run's folder, named by system, protocol, fold, seed and the hash of everything that can change the result."""
    recipe, fold = preparation.source.recipe, preparation.fold
    plain = recipe.as_dict() | {"fold": fold.name} | ({} if "test" in preparation.evaluated else {"tested": False})
    plain["protocol"]["name"] = training_protocol(fold.protocol)  # protocols that share a training share the hash
    identity = run_hash(plain, manifest_rows(preparation.utterances), versions, pretrained)
    # a speaker may be called anything, and a file name has at most 255 bytes
    speaker = re.sub(r"[^\w.+-]", "_", fold.name).lstrip(".").encode()[:80].decode(errors="ignore")
    return Path(recipe.output_folder) / f"{recipe.name}-{fold.protocol}-{speaker}-seed{recipe.seed}-{identity}"


def read_results(path: Path, *, trials: bool = False) -> dict[str, Any]:
    """A run's results.json, else a CheckpointError; with `trials` also that of a search's trial, which has no test."""
    remedy = "delete it and run the command again"
    results = read_json(path, CheckpointError, remedy)
    untested = trials and results.get("tested") is False
    try:
        for key, kind in RESULT_TYPES.items():
            if not (untested and key in OF_TEST and key not in results):
                check_value(results.get(key), kind)
        if "confusion" in results:
            metrics = summary(np.array(results["confusion"]), labels=results["labels"])
            for key in ("n_utterances", "wa", "ua", "macro_f1"):
                if not math.isclose(results[key], metrics[key], abs_tol=1e-6):
                    raise ValueError(f"the confusion gives {metrics[key]:.6g}, not {results[key]:.6g}")
    except (ValueError, IndexError) as error:
        raise CheckpointError(f"{path} is damaged ({key}: {one_line(str(error))}): {remedy}.") from None
    return results


def run_hash(
    recipe: Mapping[str, Any],  # resolved, plain
    manifest: Iterable[Mapping[str, Any]],  # from `manifest_rows`
    versions: Mapping[str, str],  # distribution -> its `code_version`
    pretrained: Mapping[str, str | None] | None = None,  # level -> weights, since `random` now may be a download later
) -> str:
    """Eight hexadecimal digits that change with anything that can change a run's result, except what files contain."""
    recipe = {key: value for key, value in recipe.items() if key not in IRRELEVANT[""]}
    if "training" in recipe:
        recipe["training"] = {k: v for k, v in recipe["training"].items() if k not in IRRELEVANT["training"]}
    # the order of a model's parts decides which weights are drawn first
    families = [recipe.get("model", {}).get(name, {}) for name in ("levels", "covariates", "heads", "losses")]
    ordered = [*map(list, families), list(recipe.get("augmentations", {}))]
    identity = json.dumps(
        [recipe, ordered, list(manifest), dict(versions), dict(pretrained or {})], sort_keys=True, default=str
    )
    return hashlib.sha256(identity.encode()).hexdigest()[:8]


def manifest_rows(utterances: Sequence[Utterance]) -> list[dict[str, Any]]:
    """All fields of the utterances, with paths relative to the folder that holds all of them."""
    root = os.path.commonpath([utterance.path.parent for utterance in utterances])
    return [{**asdict(utterance), "path": os.path.relpath(utterance.path, root)} for utterance in utterances]
