"""Evaluations on the same utterances: of two systems (`toolkit compare`), or of one in other conditions (`stress`)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from functools import cached_property, reduce
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from toolkit.audio.waves import read_audio
from toolkit.contracts import Augmentation
from toolkit.data.seeding import derive_seed
from toolkit.errors import PredictionError, RecipeError, join
from toolkit.files import DISTRIBUTION, write_whole
from toolkit.inference.predict.evaluation import CorpusEvaluation, read_tests
from toolkit.inference.predict.recordings import Recording, Samples
from toolkit.inference.summary import confusions_by
from toolkit.plugins.registry import build
from toolkit.recipe.schema import AudioSpec, PartSpec
from toolkit.report.figures.figure import MUTED, image_bytes, line_style, new_figure, stamp, styled
from toolkit.report.tables.differences import comparison_notes
from toolkit.statistics.comparison import LEVEL, Comparison, compare
from toolkit.statistics.metrics import METRICS, accuracies_of
from toolkit.training.predictions import Answers

AS_RECORDED = "as recorded"
CONDITIONS = {  # title, augmentation and its arguments, which leave only noise, the room and the cut to chance
    "softer": ("20 dB softer", "gain", {"db": [-20, -20]}),
    "louder": ("10 dB louder, clipped", "gain", {"db": [10, 10]}),
    "noise-20": ("pink noise at 20 dB", "noise", {"snr_db": [20, 20], "colour": "pink"}),
    "noise-10": ("pink noise at 10 dB", "noise", {"snr_db": [10, 10], "colour": "pink"}),
    "noise-0": ("pink noise at 0 dB", "noise", {"snr_db": [0, 0], "colour": "pink"}),
    "telephone": ("by telephone", "telephone", {}),
    "mp3": ("MP3 at 32 kbit/s", "codec", {"kbit_per_s": [32, 32]}),
    "room": ("in a room, 0.6 s", "reverb", {"seconds": [0.6, 0.6], "direct_db": [0, 0]}),
    "half": ("half of it", "crop", {"part": [0.5, 0.5]}),
}


@dataclass(frozen=True, eq=False)
class PairedEvaluations:
    """Evaluations on the same utterances, by name; the first one is the baseline of the others."""

    evaluations: Mapping[str, CorpusEvaluation]
    metrics: ClassVar[Sequence[str]] = METRICS

    @classmethod
    def of(cls, evaluations: Mapping[str, CorpusEvaluation]) -> "PairedEvaluations":
        """Reduce evaluations to the utterances that all could read; PredictionError if there is none."""
        common = reduce(np.intersect1d, (e.answers.id for e in evaluations.values()))
        if not len(common):
            raise PredictionError("No utterance could be labelled each time: there is nothing to compare")
        found = {}
        for name, evaluation in evaluations.items():
            rows = np.isin(evaluation.answers.id, common)
            answers = Answers(**{column: values[rows] for column, values in vars(evaluation.answers).items()})
            found[name] = replace(evaluation, answers=answers)
        return cls(found)

    @property
    def baseline(self) -> CorpusEvaluation:
        """The first evaluation."""
        return next(iter(self.evaluations.values()))

    @cached_property
    def differences(self) -> list[Comparison]:
        """The others minus the baseline in every metric, paired by speaker."""
        target = self.baseline.target
        confusions = {name: confusions_by("speaker", e.answers, target) for name, e in self.evaluations.items()}
        return compare(confusions, baseline=next(iter(confusions)), metrics=self.metrics)


class SystemComparison(PairedEvaluations):
    """System B against A, the baseline, by their bundles."""

    @property
    def notes(self) -> list[str]:
        """Notes for a reader of the figures."""
        a = self.baseline
        notes = [f"Left out, since not both systems could read them: {a.n_skipped}."] if a.n_skipped else []
        notes += [f"No utterance is {join(a.missing, 'or')}."] if a.missing else []
        return [*notes, *a.speaker_notes, *comparison_notes(self.differences)]

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON; accuracies are fractions of 1, differences are B minus A."""
        a = self.baseline
        kept = ("bundle", *METRICS, "intervals", "stamps")
        systems = [{key: values[key] for key in kept} for values in (e.as_dict() for e in self.evaluations.values())]
        differences = {
            found.metric: {key: getattr(found, key) for key in ("difference", "p", "p_corrected", "verdict")}
            | {"interval": found.interval and astuple(found.interval)}
            for found in self.differences
        }
        return {
            "systems": systems,
            "differences": differences,
            "interval_level": LEVEL,
            "n_utterances": len(a.answers.id),
            "n_speakers": a.n_speakers,
            "n_skipped": a.n_skipped,
            "missing_classes": a.missing,
            "notes": self.notes,
        }


class StressTest(PairedEvaluations):
    """A system as recorded, the baseline, and in each condition, by the conditions' titles."""

    metrics = ("ua",)

    @property
    def changes(self) -> dict[str, Comparison]:
        """The UA of each condition minus that of the recordings as they are."""
        return {found.system: found for found in self.differences}

    def worst_speaker(self, title: str) -> tuple[str, float] | None:
        """The speaker with the lowest UA in a condition, and that UA; None if no speaker has a name."""
        found = accuracies_of(confusions_by("speaker", self.evaluations[title].answers, self.baseline.target))
        return min(((name, a.ua) for name, a in found.items() if name), key=lambda pair: pair[1], default=None)

    def too_much(self, points: float) -> list[str]:
        """The conditions that lose more than `points` percentage points of UA, with their loss."""
        lost = {title: -100 * (found.difference or 0.0) for title, found in self.changes.items()}
        return [f"{title} ({drop:.1f})" for title, drop in lost.items() if drop > points]

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON; accuracies are fractions of 1."""
        kept = ("n_utterances", *METRICS, "intervals", "by_gender", "recall")
        conditions = {}
        for title, evaluation in self.evaluations.items():
            values, change = evaluation.as_dict(), self.changes.get(title)
            conditions[title] = {key: values[key] for key in kept} | {
                "change": change and change.difference,
                "change_interval": change and change.interval and astuple(change.interval),
                "p_corrected": change and change.p_corrected,
                "worst_speaker": self.worst_speaker(title),
            }
        shared = ("bundle", "manifest", "n_speakers", "interval_level", "stamps", "left_out", "n_skipped")
        values = self.baseline.as_dict()
        return {key: values[key] for key in (*shared, "missing_classes", "notes")} | {"conditions": conditions}


def stress(bundle: str, manifest: str, *, only: Sequence[str] = (), seed: int = 0, **options: Any) -> StressTest:
    """Test a system on a labelled manifest as recorded and in every condition.

    Args: only: names of `CONDITIONS`, by default all; seed: of noise, rooms and cuts; options: those of `read_tests`.
    Raises: PredictionError if a condition does not fit the system's sample rate; ToolkitError as for `read_tests`.
    """
    (test,) = read_tests([bundle], manifest, **options)
    audio = test.model.usage.audio
    augmentations = {name: _augmentation(name, audio) for name in only or CONDITIONS}
    recorded = test.run(test.recordings(), what=AS_RECORDED)
    read = set(recorded.answers.id.tolist())
    test = replace(test, utterances=[utterance for utterance in test.utterances if utterance.id in read])
    evaluations = {AS_RECORDED: recorded}
    for name, augmentation in augmentations.items():
        title, *_ = CONDITIONS[name]
        changed = _changed(test.recordings(), augmentation, audio.sample_rate, (seed, "stress", name))
        evaluations[title] = test.run(changed, what=title)
    return StressTest.of(evaluations)


def write_figure(test: StressTest, path: str) -> None:
    """Draw UA in each condition, with its interval, as .png or .svg; PredictionError if it cannot be written."""
    found = {title: evaluation.summary for title, evaluation in test.evaluations.items()}
    with styled():
        figure, ((axis,),) = new_figure(columns=1, height=0.6 + 0.32 * len(found))
        axis.axvline(100 * found[AS_RECORDED].ua, color=MUTED, linewidth=0.8)
        for row, summary in enumerate(found.values()):
            if ends := summary.interval("ua"):
                axis.plot([100 * ends.low, 100 * ends.high], [row, row], **line_style(0) | {"marker": "|"})
            axis.plot([100 * summary.ua], [row], **line_style(0))
        axis.set_yticks(range(len(found)), list(found))
        axis.invert_yaxis()
        axis.set_xlabel("UA (%)")
        axis.grid(axis="x")
        stamp(figure, test.baseline.test.stamps)
        drawn = image_bytes(figure, Path(path).suffix[1:])
    write_whole(Path(path), drawn, PredictionError, "choose another --figure")


def _augmentation(name: str, audio: AudioSpec) -> Augmentation:
    """The augmentation of a condition. Raises: PredictionError if it does not fit the system's sample rate."""
    _, plugin, args = CONDITIONS[name]
    context = {"sample_rate": audio.sample_rate, "segment_samples": audio.segment_samples}
    try:
        return build("augmentation", PartSpec(plugin=f"{DISTRIBUTION}:{plugin}", args=args), context)
    except RecipeError as error:
        raise PredictionError(f"{name} does not fit the system: {error}; name other conditions") from None


def _changed(recordings: Iterable[Recording], augmentation: Augmentation, rate: int, key: tuple) -> Iterator[Samples]:
    """Change recordings, clipped at full scale as in a file; random numbers come from `key` and a recording's name."""
    for recording in recordings:
        wave = read_audio(recording.path, sample_rate=rate, start_s=recording.start_s, end_s=recording.end_s)
        generator = torch.Generator().manual_seed(derive_seed(*key, recording.name))
        wave = augmentation.change(wave, generator).clamp(-1, 1)
        yield Samples(wave, rate, recording.covariates, recording.name)
