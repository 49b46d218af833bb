"""`toolkit stress`: how much a system loses when the same recordings are softer, noisy, by telephone or in a room."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from toolkit.audio.waves import read_audio
from toolkit.contracts import Augmentation
from toolkit.data.seeding import derive_seed
from toolkit.errors import PredictionError, RecipeError, did_you_mean, join
from toolkit.files import DISTRIBUTION, write_whole
from toolkit.inference.predict.comparison import PairedEvaluations
from toolkit.inference.predict.evaluation import read_tests
from toolkit.inference.predict.recordings import Recording, Samples
from toolkit.inference.summary import confusions_by
from toolkit.plugins.registry import build
from toolkit.recipe.schema import AudioSpec, PartSpec
from toolkit.report.figures.figure import MUTED, image_bytes, line_style, new_figure, stamp, styled
from toolkit.statistics.comparison import Comparison
from toolkit.statistics.confusions import accuracies_of
from toolkit.statistics.metrics import METRICS

AS_RECORDED = "as recorded"


class Condition(NamedTuple):
    """An augmentation of recordings in which only noise, the room and the cut are left to chance."""

    title: str
    plugin: str
    args: Mapping[str, Any]


def _pink(db: int) -> Condition:
    return Condition(f"pink noise at {db} dB", "noise", {"snr_db": [db, db], "colour": "pink"})


CONDITIONS = {
    "softer": Condition("20 dB softer", "gain", {"db": [-20, -20]}),
    "louder": Condition("10 dB louder, clipped", "gain", {"db": [10, 10]}),
    "noise-20": _pink(20),
    "noise-10": _pink(10),
    "noise-0": _pink(0),
    "telephone": Condition("by telephone", "telephone", {}),
    "mp3": Condition("MP3 at 32 kbit/s", "codec", {"kbit_per_s": [32, 32]}),
    "room": Condition("in a room, 0.6 s", "reverb", {"seconds": [0.6, 0.6], "direct_db": [0, 0]}),
    "half": Condition("half of it", "crop", {"part": [0.5, 0.5]}),
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
    Raises: PredictionError if a condition is unknown or does not fit the system's sample rate, or no utterance can be
        read; ToolkitError as for `read_tests`.
    """
    for name in only:
        if name not in CONDITIONS:
            near = did_you_mean(name, CONDITIONS)
            raise PredictionError(f"No condition is called {name!r}.{near} Conditions are {join(CONDITIONS)}.")
    (test,) = read_tests([bundle], manifest, **options)
    audio = test.model.usage.audio
    augmentations = {name: _augmentation(name, audio) for name in only or CONDITIONS}
    recorded = test.run(test.recordings(), what=AS_RECORDED)
    read = set(recorded.answers.id.tolist())
    test = replace(test, utterances=[utterance for utterance in test.utterances if utterance.id in read])
    evaluations = {AS_RECORDED: recorded}
    for name, augmentation in augmentations.items():
        title = CONDITIONS[name].title
        changed = _changed(test.recordings(), augmentation, audio.sample_rate, (seed, "stress", name))
        evaluations[title] = test.run(changed, what=title)
    return StressTest.of(evaluations, "in all conditions")


def write_figure(test: StressTest, path: str) -> None:
    """Draw UA in each condition, with its interval, beside that of the recordings as they are.

    Args: path: of a .png or .svg file.
    Raises: PredictionError if it cannot be written.
    """
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
        stamp(figure, test.baseline.stamps)
        drawn = image_bytes(figure, Path(path).suffix[1:])
    write_whole(Path(path), drawn, PredictionError, "choose another --figure")


def _augmentation(name: str, audio: AudioSpec) -> Augmentation:
    """The augmentation of a condition. Raises: PredictionError if it does not fit the system's sample rate."""
    _, plugin, args = CONDITIONS[name]
    context = {"sample_rate": audio.sample_rate, "segment_samples": audio.segment_samples}
    try:
        return build("augmentation", PartSpec(plugin=f"{DISTRIBUTION}:{plugin}", args=args), context)
    except RecipeError as error:
        remedy = f"name the conditions to test with --condition, without {name}"
        raise PredictionError(f"Condition {name} does not fit the system: {error}; {remedy}") from None


def _changed(recordings: Iterable[Recording], augmentation: Augmentation, rate: int, key: tuple) -> Iterator[Samples]:
    """Change recordings, clipped at full scale as in a file; random numbers come from `key` and a recording's name."""
    for recording in recordings:
        wave = read_audio(recording.path, sample_rate=rate, start_s=recording.start_s, end_s=recording.end_s)
        generator = torch.Generator().manual_seed(derive_seed(*key, recording.name))
        wave = augmentation.change(wave, generator).clamp(-1, 1)
        yield Samples(wave, rate, recording.covariates, recording.name)
