"""Writes the folder of an experiment whose answers are made up, for the tests of what reads one."""

import io
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.corpus import Utterance
from toolkit.corpus.protocols import STAMPS
from toolkit.corpus.targets import Target
from toolkit.experiment.cells import Record, Records
from toolkit.experiment.plan import Cell, Plan, PlannedSystem, write_plan
from toolkit.report.evidence import FinishedRun
from toolkit.statistics import metrics
from toolkit.training.predictions import read_csv
from toolkit.training.run_folder import (
    EMBEDDINGS,
    EPOCHS,
    PREDICTIONS,
    RECIPE,
    RESULTS,
    VALIDATION,
    RunFolder,
)

LABELS = ("ang", "hap", "neu", "sad")
TEN = tuple(f"{session}{gender}" for session in range(1, 6) for gender in "MF")
SYNTHETIC = "synthetic corpus: the figures say nothing about real speech"
EPOCHS_TRAINED = 6


@dataclass(frozen=True)
class FakeSystem:
    """A system by its parts and its skill, which is how far the true class's score lies above the others'."""

    levels: Sequence[str] = ("spectrogram", "mfcc", "wav2vec2")
    skill: float = 1.2
    covariates: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    heads: Sequence[str] = ("emotion",)
    losses: Sequence[str] = ("classification",)
    published: Mapping[str, Any] | None = None
    stamps: Sequence[str] = ()


PAPER = "Multilevel emotion recognition of audio features based on multitask"
SER = FakeSystem(published={"corpus": "iemocap", "wa": 70.56, "ua": 71.02, "source": PAPER})


class QuickFolder(RunFolder):
    """A run's folder that is not flushed to the disk: a test needs no care for power cuts."""

    def write(self, name: str, content: bytes | str) -> Path:
        path = self.path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


@dataclass
class FakeExperiment:
    """What to write.

    Args:
        systems: name -> its parts; the first is the baseline.
        folds: fold -> its test speakers.
        planned: whether a cell (system, protocol, fold, seed) is part of the experiment at all.
        left: cells (system, protocol, fold, seed) that are not done, or those for which a function says so.
        failed: such cells -> their error.
        answer: gives (scores [utterances, classes]) for a cell; made up where not given.
    """

    systems: Mapping[str, FakeSystem]
    folds: Mapping[str, Sequence[str]] = field(default_factory=lambda: {s: (s,) for s in TEN})
    protocols: Sequence[str] = ("loso",)
    seeds: Sequence[int] = (1,)
    labels: Sequence[str] = LABELS
    corpus: str = "iemocap"
    synthetic: bool = False
    utterances: int = 24
    named: bool = True
    genders: bool = True
    planned: Callable[..., bool] = lambda *key: True
    left: Callable[..., bool] = lambda *key: False
    failed: Mapping[tuple, str] = field(default_factory=dict)
    answer: Callable[..., np.ndarray] | None = None

    def write(self, folder: Path) -> Path:
        """Write it all, and return the folder."""
        plan = self._plan()
        write_plan(folder, plan)
        records = Records(folder)
        for cell in plan.cells:
            if cell.key in self.failed:
                error = self.failed[cell.key]
                records.write(Record(cell, "failed", 1.0, 2.0, error=error))
            elif not self.left(*cell.key):
                run = QuickFolder(folder / "runs" / cell.name)
                run.path.mkdir(parents=True, exist_ok=True)
                self._write_run(run, cell)
                records.write(Record(cell, "done", 1.0, 61.0, run=cell.name))
        return folder

    def speaker_utterances(self, speaker: str) -> list[Utterance]:
        """The same ones in every cell; every speaker has every class."""
        rng = np.random.default_rng(zlib.crc32(speaker.encode()))
        count = self.utterances + int(rng.integers(0, 5))
        classes = [*range(len(self.labels)), *rng.integers(0, len(self.labels), count - len(self.labels))]
        return [
            Utterance(
                id=f"{speaker}_{number:03d}",
                path=Path(f"/nowhere/{speaker}_{number:03d}.wav"),
                label=self.labels[label],
                speaker=speaker if self.named else None,
                session=speaker[:-1],
                gender=(speaker[-1] if speaker[-1] in "MF" else "F") if self.genders else None,
            )
            for number, label in enumerate(classes)
        ]

    def _recipe(self, name: str, system: FakeSystem) -> dict[str, Any]:
        return {
            "name": name,
            "corpus": {"plugin": self.corpus, "args": {}},
            "protocol": {"name": self.protocols[0], "args": {}},
            "fold": None,
            "seed": 1,
            "output_folder": "results",
            "data_folder": None,
            "model": {
                "levels": {level: {"plugin": level, "args": {}} for level in system.levels},
                "covariates": {n: {"level": None, "weight": None, **spec} for n, spec in system.covariates.items()},
                "fusion": {"plugin": "coattention" if len(system.levels) > 1 else "attention", "args": {}},
                "heads": {head: {"plugin": "mlp", "target": "label"} for head in system.heads},
                "losses": {loss: {"plugin": loss, "on": "*", "weight": 1.0} for loss in system.losses},
            },
            "predict_from": system.heads[0],
            "published": system.published or {"corpus": None, "wa": None, "ua": None, "source": None},
        }

    def _plan(self) -> Plan:
        cells = [
            Cell(name, protocol, fold, seed, f"{index:08x}")
            for seed in self.seeds
            for protocol in self.protocols
            for fold in self.folds
            for index, name in enumerate(self.systems)
            if self.planned(name, protocol, fold, seed)
        ]
        systems = {
            name: PlannedSystem(f"{index:08x}", self._recipe(name, system), None, False)
            for index, (name, system) in enumerate(self.systems.items())
        }
        return Plan(systems, tuple(self.labels), "c0ffee00", tuple(cells))

    def _scores(self, cell: Cell, reference: np.ndarray) -> np.ndarray:
        if self.answer is not None:
            return self.answer(cell, reference)
        rng = np.random.default_rng(zlib.crc32("/".join(map(str, cell.key)).encode()))
        bonus = {"loso-test-epoch": 0.15, "loso-as-published": 0.3}.get(cell.protocol, 0.0)
        scores = rng.normal(size=(len(reference), len(self.labels)))
        scores[np.arange(len(reference)), reference] += self.systems[cell.system].skill + bonus
        return 1.5 * scores

    def _write_run(self, run: RunFolder, cell: Cell) -> None:
        system = self.systems[cell.system]
        said = [*system.stamps, *([SYNTHETIC] if self.synthetic else [])]
        run.stamps = (*said, *([STAMPS[cell.protocol]] if cell.protocol in STAMPS else []))
        folds = list(self.folds)
        if cell.protocol != "loso-as-published":
            following = folds[(folds.index(cell.fold) + 1) % len(folds)]
            run.write_rows(VALIDATION, self._answered(cell, following)[0])
        rows, test, scores = self._answered(cell, cell.fold)
        run.write_rows(PREDICTIONS, rows)
        reference, predicted = [u.label for u in test], [r["predicted"] for r in rows]
        matrix = metrics.confusion_matrix(reference, predicted, labels=self.labels)
        summary = metrics.summary(matrix, labels=self.labels)
        run.write_rows(EPOCHS, [_epoch(e, summary) for e in range(1, EPOCHS_TRAINED + 1)])
        run.write(RECIPE, "name: unread\n")
        embeddings = io.BytesIO()
        fused = np.hstack([scores, np.sin(scores)]).astype(np.float32)
        np.savez(embeddings, fused=fused, id=[u.id for u in test], reference=[u.label for u in test])
        run.write(EMBEDDINGS, embeddings.getvalue())
        valid = {"valid_wa": system.skill / 10, "valid_ua": folds.index(cell.fold) / 100}
        run.write_json(RESULTS, {**self._results(cell, system), **summary, **valid, "stamps": list(run.stamps)})

    def _answered(self, cell: Cell, fold: str) -> tuple[list[dict], list[Utterance], np.ndarray]:
        """The rows of predictions for a fold's speakers, their utterances and scores."""
        utterances = [u for speaker in self.folds[fold] for u in self.speaker_utterances(speaker)]
        scores = self._scores(cell, np.array([list(self.labels).index(u.label) for u in utterances]))
        rows = [
            {
                "id": u.id,
                "speaker": u.speaker or "",
                "gender": u.gender or "",
                "seconds": f"{1 + 0.13 * (zlib.crc32(u.id.encode()) % 60):.3f}",
                "reference": u.label,
                "predicted": self.labels[row.argmax()],
                **{f"p_{label}": repr(float(p)) for label, p in zip(self.labels, row, strict=True)},
            }
            for u, row in zip(utterances, Target.probabilities(scores), strict=True)
        ]
        return rows, utterances, scores

    def _results(self, cell: Cell, system: FakeSystem) -> dict[str, Any]:
        return {
            "system": cell.system,
            "corpus": self.corpus,
            "protocol": cell.protocol,
            "fold": cell.fold,
            "seed": cell.seed,
            "epoch": 5,
            "epochs": EPOCHS_TRAINED,
            "synthetic": self.synthetic,
            "pretrained": {x: "facebook/wav2vec2-base-960h" if x == "wav2vec2" else None for x in system.levels},
            "parameters": 1_000_000 * len(system.levels),
            "device": "cpu",
            "hardware": "a processor, 8 cores",
            "threads": 4,
            "precision": "fp32",
            "versions": {"python": "3.11.7", "torch": "2.11.0"},
            "seconds": 90.0,
        }


def _epoch(epoch: int, summary: Mapping[str, Any]) -> dict[str, Any]:
    """A curve that ends where the test ended."""
    share = 1 - 0.6 * (1 - epoch / EPOCHS_TRAINED)
    scores = {f"{part}_{m}": summary[m] * share for part in ("valid", "test") for m in ("wa", "ua")}
    return {"epoch": epoch, "train_loss": 2 - share, **scores, "seconds": 15.0}


def predictions(run: FinishedRun) -> list[dict[str, str]]:
    """The rows of a run's predictions.csv."""
    return read_csv(run.folder / PREDICTIONS)


def paper_experiment(**changes: Any) -> FakeExperiment:
    """The systems of the paper's table, with controls for gender and single levels."""
    gender = {"gender": {"source": "label"}}
    heads = ("emotion", "spectrogram", "mfcc", "wav2vec2")
    center = ("classification", "center")

    def system(wa: float | None = None, ua: float | None = None, **parts: Any) -> FakeSystem:
        figures = {"corpus": "iemocap", "wa": wa, "ua": ua, "source": PAPER} if wa else None
        return FakeSystem(published=figures, **parts)

    systems = {
        "ser": SER,
        "mf": system(71.94, 73.06, covariates=gender, skill=1.25),
        "mtl": system(71.88, 72.26, heads=heads, skill=1.6),
        "cr": system(70.68, 72.35, losses=center, skill=1.2),
        "mf_mtl": system(71.75, 73.37, covariates=gender, heads=heads, skill=1.5),
        "mf_cr": system(71.44, 72.23, covariates=gender, losses=center, skill=1.3),
        "mtl_cr": system(71.9, 72.78, heads=heads, losses=center, skill=1.3),
        "mf_mtl_cr": system(70.31, 71.64, covariates=gender, heads=heads, losses=center, skill=1.1),
        "mf_predicted": system(covariates={"gender": {"source": "predicted", "level": "wav2vec2"}}, skill=1.2),
        "mf_shuffled": system(covariates={"gender": {"source": "shuffled"}}, skill=1.22),
        "w2e": system(65.89, 66.39, levels=("wav2vec2",), skill=0.9),
        "mfcc": system(levels=("mfcc",), skill=0.5),
        "nlinear": system(levels=("nlinear",), skill=0.4),
    }
    return FakeExperiment(systems, **changes)
