"""A run's folder: its name, its lock, and its files, each written whole or not at all. Imports no torch."""

import json
import math
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.corpus.protocols import PROTOCOLS, training_protocol
from toolkit.corpus.targets import Target
from toolkit.errors import CheckpointError, one_line
from toolkit.files import csv_text, locked, read_json, to_cell, write_whole
from toolkit.recipe.checks import Mismatch, check_value
from toolkit.statistics.metrics import summary_of

RESULTS = "results.json"
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
    **{"confusion": list[list[int]], "synthetic": bool},  # checked against what stands above
}
OF_TEST = ("n_utterances", "labels", "confusion", "wa", "ua", "macro_f1")  # a search's trial lacks these
PROBE = "probe"  # the probe's checkpoints; its history is probe.json


class RunFolder:
    """The folder of one run, made when it is locked; without `writes` a process neither locks nor writes anything."""

    def __init__(self, path: Path, *, writes: bool = True):
        self.path, self.writes = Path(path), writes
        self.stamps: tuple[str, ...] = ()  # warnings about every result, written into every file

    @staticmethod
    def name(system: str, protocol: str, fold: str, seed: int, identity: str) -> str:
        """The folder's name: system, protocol, fold, seed and the hash of everything that can change the result."""
        fold = re.sub(r"[^\w.+-]", "_", fold).lstrip(".")  # a speaker may be called anything
        fold = fold.encode()[:80].decode(errors="ignore")  # and a file name has at most 255 bytes
        return f"{system}-{protocol}-{fold}-seed{seed}-{identity}"

    @property
    def results(self) -> Path:
        """results.json, written last: if it exists, the run is finished."""
        return self.path / RESULTS

    @property
    def stamp(self) -> str:
        """All stamps in one line."""
        return "; ".join(self.stamps)

    @contextmanager
    def locked(self, *, wait: bool = False) -> Iterator[None]:
        """Lock the run. Raises: CheckpointError if another process has, unless `wait`, or the folder is not usable."""
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
        """Write a JSON file."""
        self.write(name, json.dumps(value, indent=2) + "\n")


class Result(dict):
    """The content of a finished run's results.json; `folder` is the run's folder."""

    def __init__(self, path: Path):
        super().__init__(read_results(path))
        self.folder = path.parent


def trained_with(folder: Path, *, system: str, protocol: str) -> list[Path]:
    """A run's folder, then the folders of the same run under other protocols that share its training."""
    rest = folder.name.removeprefix(f"{system}-{protocol}-")
    others = [p for p in PROTOCOLS if p != protocol and training_protocol(p) == training_protocol(protocol)]
    return [folder, *(folder.with_name(f"{system}-{other}-{rest}") for other in others)]


def read_results(path: Path, *, trials: bool = False) -> dict[str, Any]:
    """The content of a run's results.json; `trials` reads those of a search's trials, which have no test, too.

    Raises: CheckpointError if it does not match `RESULT_TYPES`.
    """
    remedy = "delete it and run the command again"
    results = read_json(path, CheckpointError, remedy)
    for key, kind in RESULT_TYPES.items():
        if trials and key in OF_TEST and key not in results and results.get("tested") is False:
            continue
        try:
            check_value(results.get(key), kind)
            if key == "confusion":
                _check_metrics(results)
        except Mismatch as error:
            raise CheckpointError(f"{path} is damaged ({key}: {one_line(str(error))}): {remedy}.") from None
    return results


def validation_score(row: Mapping[str, Any]) -> float:
    """WA + UA of the validation part, from a row of epochs.csv or from results.json."""
    return Target.selection_score({name.removeprefix("valid_"): v for name, v in row.items() if "valid_" in name})


def _check_metrics(results: Mapping[str, Any]) -> None:
    """Raises: Mismatch if the confusion does not count utterances by label, or does not have the metrics beside it."""
    matrix, labels = results["confusion"], results["labels"]
    if {len(row) for row in [matrix, *matrix]} != {len(labels)}:
        raise Mismatch("it needs a row and a column for each label")
    counts = np.array(matrix)
    if not counts.any() or counts.min() < 0:
        raise Mismatch("its entries have to be counts of at least one utterance")
    metrics = summary_of(counts, labels=labels)
    for key in ("n_utterances", "wa", "ua", "macro_f1"):
        if not math.isclose(results[key], metrics[key], abs_tol=1e-6):
            raise Mismatch(f"its {key} is {metrics[key]:.6g}, not {results[key]:.6g}")
