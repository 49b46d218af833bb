"""`toolkit stress`: how much a system loses when the same recordings are softer, noisy, by telephone or in a room."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from toolkit.audio.reading import stretch
from toolkit.audio.waves import waves
from toolkit.contracts import Augmentation
from toolkit.data.seeding import derive_seed
from toolkit.errors import AudioError, PredictionError, RecipeError, did_you_mean, join
from toolkit.files import DISTRIBUTION, write_whole
from toolkit.inference.predict.comparison import in_common
from toolkit.inference.predict.evaluation import CorpusEvaluation, LabelledTest, read_test
from toolkit.inference.predict.recordings import Recording, Samples
from toolkit.inference.summary import confusions_by
from toolkit.plugins.registry import build
from toolkit.recipe.schema import PartSpec
from toolkit.report.figures.figure import COLOURS, MUTED, Figure, new_figure
from toolkit.statistics.comparison import Comparison, compare
from toolkit.statistics.intervals import LEVEL
from toolkit.statistics.metrics import METRICS

AS_RECORDED = "as recorded"


@dataclass(frozen=True)
class Condition:
    """A change of recordings: an augmentation whose arguments leave only noise to chance."""

    title: str
    plugin: str
    args: Mapping[str, Any] = field(default_factory=dict)


CONDITIONS = {
    "softer": Condition("20 dB softer", "gain", {"db": [-20, -20]}),
    "louder": Condition("10 dB louder, clipped", "gain", {"db": [10, 10]}),
    **{
        f"noise-{db}": Condition(f"pink noise at {db} dB", "noise", {"snr_db": [db, db], "colour": "pink"})
        for db in (20, 10, 0)
    },
    "telephone": Condition("by telephone", "telephone"),
    "mp3": Condition("MP3 at 32 kbit/s", "codec", {"kbit_per_s": [32, 32]}),
    "room": Condition("in a room, 0.6 s", "reverb", {"seconds": [0.6, 0.6], "direct_db": [0, 0]}),
    "half": Condition("half of it", "crop", {"part": [0.5, 0.5]}),
}


@dataclass(frozen=True, eq=False)
class StressTest:
    """A system's evaluations as recorded and in each condition, over the utterances that could be read in all."""

    evaluations: Mapping[str, CorpusEvaluation]  # by the condition's title, `AS_RECORDED` first
    n_skipped: int  # utterances that are left out

    @property
    def recorded(self) -> CorpusEvaluation:
        """The evaluation of the recordings as they are."""
        return self.evaluations[AS_RECORDED]

    @cached_property
    def changes(self) -> dict[str, Comparison]:
        """The UA of each condition minus that of the recordings as they are, paired by speaker."""
        evaluations = self.evaluations.items()
        confusions = {title: confusions_by(e.answers.speaker, e.answers, e.target) for title, e in evaluations}
        return {found.system: found for found in compare(confusions, baseline=AS_RECORDED, metrics=["ua"])}

    def worst_speaker(self, title: str) -> tuple[str, float] | None:
        """The speaker with the lowest UA in a condition, and that UA; None if no speaker has a name."""
        answers = self.evaluations[title].answers
        found = confusions_by(answers.speaker, answers, self.recorded.target).accuracies
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
        shared = ("bundle", "manifest", "n_speakers", "interval_level", "stamps", "left_out")
        values = self.recorded.as_dict()
        return {key: values[key] for key in shared} | {"n_skipped": self.n_skipped, "conditions": conditions}


def stress(bundle: str, manifest: str, *, only: Sequence[str] = (), seed: int = 0, **options: Any) -> StressTest:
    """Test a system on a labelled manifest as recorded and in every condition.

    Args: only: names of `CONDITIONS`, by default all; seed: of the noise; options: those of `read_test`.
    Raises: PredictionError if a condition is unknown or does not fit the system's sample rate, or no utterance can be
        read; ToolkitError as for `read_test`.
    """
    for name in (name for name in only if name not in CONDITIONS):
        near = did_you_mean(name, CONDITIONS)
        raise PredictionError(f"No condition is called {name!r}.{near} Conditions are {join(CONDITIONS)}.")
    test = read_test([bundle], manifest, **options)
    (bundle,) = test.models
    changes = {name: _Changed(test, name, seed) for name in only or CONDITIONS}
    stamps = test.stamps(bundle)
    recorded = test.result(bundle, stamps, what=AS_RECORDED)
    evaluations, n_utterances = {AS_RECORDED: recorded}, len(test.utterances)
    read = set(recorded.answers.id.tolist())
    test = replace(test, utterances=[utterance for utterance in test.utterances if utterance.id in read])
    for name, change in changes.items():
        title = CONDITIONS[name].title
        evaluations[title] = test.result(bundle, stamps, change=change, what=title)
    common = in_common(list(evaluations.values()))
    if not common:
        raise PredictionError("No utterance could be labelled in all conditions: there is nothing to compare")
    return StressTest(dict(zip(evaluations, common, strict=True)), n_utterances - len(common[0].answers.id))


def stress_figure(test: StressTest) -> Figure:
    """UA in each condition, with its interval, beside that of the recordings as they are."""
    found = {title: evaluation.summary for title, evaluation in test.evaluations.items()}

    def draw() -> Any:
        figure = new_figure(height=0.6 + 0.32 * len(found), panels=1)
        axis = figure.subplots()
        axis.axvline(100 * found[AS_RECORDED].ua, color=MUTED, linewidth=0.8)
        for row, summary in enumerate(found.values()):
            look = {"color": COLOURS[0], "marker": "o", "linestyle": "-"}
            if (ends := summary.interval("ua")) is not None:
                axis.plot([100 * ends.low, 100 * ends.high], [row, row], **look | {"marker": "|"})
            axis.plot([100 * summary.ua], [row], **look)
        axis.set_yticks(range(len(found)), list(found))
        axis.invert_yaxis()
        axis.set_xlabel("UA (%)")
        axis.grid(axis="x")
        return figure

    values = ", ".join(f"{title} {100 * summary.ua:.1f}" for title, summary in found.items())
    title = f"UA of {test.recorded.bundle} in other conditions"
    caption = f"With {100 * LEVEL:g} % intervals over the speakers; the line is as recorded."
    return Figure("stress", title, caption, f"UA in percent: {values}.", draw, test.recorded.stamps)


def write_figure(test: StressTest, path: str) -> None:
    """Draw it into a .png or .svg file. Raises: PredictionError if it cannot be written."""
    png, svg, _ = stress_figure(test).render()
    drawn = png if path.endswith(".png") else svg
    write_whole(Path(path), drawn, PredictionError, "choose another --figure", stream=True)


class _Changed:
    """Puts recordings into a condition, clipped at full scale as in a file."""

    def __init__(self, test: LabelledTest, name: str, seed: int):
        (model,) = test.models.values()
        audio, condition = model.usage.audio, CONDITIONS[name]
        context = {"sample_rate": audio.sample_rate, "segment_samples": audio.segment_samples}
        spec = PartSpec(plugin=f"{DISTRIBUTION}:{condition.plugin}", args=condition.args)
        try:
            self.augmentation: Augmentation = build("augmentation", spec, context)
        except RecipeError as error:
            remedy = f"name the conditions to test with --condition, without {name}"
            raise PredictionError(f"Condition {name} does not fit the system: {error}; {remedy}") from None
        self.rate, self.key, self.numbers = audio.sample_rate, (seed, "stress", name), count()

    def __call__(self, recording: Recording) -> Recording | Samples:
        number = next(self.numbers)
        try:
            file = stretch(recording.path, start_s=recording.start_s, end_s=recording.end_s)
            wave = torch.cat(list(waves(file, self.rate)))
        except AudioError:
            return recording  # the model reports what is wrong with it
        return Samples(self._change(wave, number), self.rate, recording.covariates, recording.name)

    def _change(self, wave: Tensor, number: int) -> Tensor:
        generator = torch.Generator().manual_seed(derive_seed(*self.key, number))
        return self.augmentation.change(wave, generator).clamp(-1, 1)
