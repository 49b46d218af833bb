"""Evaluations on the same utterances: of two systems (`toolkit compare`), or of one in other conditions (`stress`)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch

from toolkit.contracts import Augmentation
from toolkit.data.batches import derive_seed
from toolkit.errors import PredictionError, RecipeError
from toolkit.files import DISTRIBUTION, write_whole
from toolkit.inference.predict.evaluation import read_tests
from toolkit.inference.predict.recordings import Recording, Samples
from toolkit.inference.summary import confusions_by
from toolkit.plugins.registry import build
from toolkit.recipe.schema import AudioSpec, PartSpec
from toolkit.report.figures.figure import MUTED, image_bytes, line_style, new_figure, stamp, styled
from toolkit.report.tables.differences import comparison_notes
from toolkit.statistics.comparison import Comparison, compare
from toolkit.statistics.metrics import METRICS, Confusions, accuracies_of
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


def common_answers(answers: Mapping[str, Answers]) -> dict[str, Answers]:
    """Answers reduced to the utterances that all could read, by the same names; PredictionError if there is none."""
    common = reduce(np.intersect1d, (a.id for a in answers.values()))
    if not len(common):
        raise PredictionError("No utterance could be labelled each time: there is nothing to compare")
    found = {}
    for name, each in answers.items():
        kept = np.isin(each.id, common)
        found[name] = Answers(**{column: values[kept] for column, values in vars(each).items()})
    return found


def compare_systems(bundles: Sequence[str], manifest: str, **options: Any) -> dict[str, Any]:
    """Compare system B with A by options of `read_tests`; accuracies are fractions of 1, differences are B minus A."""
    tests = read_tests(bundles, manifest, **options)
    answers = common_answers({test.bundle: test.run() for test in tests})
    target = tests[0].model.usage.target
    found = compare({name: confusions_by("speaker", a, target) for name, a in answers.items()})
    systems = [test.figures(answers[test.bundle]) for test in tests]
    kept = ("bundle", *METRICS, "intervals", "stamps")
    shared = ("n_utterances", "n_speakers", "n_skipped", "missing_classes", "interval_level")
    return {
        "systems": [{key: values[key] for key in kept} for values in systems],
        "differences": {
            c.metric: {key: getattr(c, key) for key in ("difference", "p", "p_corrected", "verdict", "interval")}
            for c in found
        },
        **{key: systems[0][key] for key in shared},
        "notes": [*systems[0]["notes"], *comparison_notes(found)],
    }


def stress(bundle: str, manifest: str, *, only: Sequence[str] = (), seed: int = 0, **options: Any) -> dict[str, Any]:
    """Test a system as recorded and in `CONDITIONS`, or `only` some, by options of `read_tests`."""
    (test,) = read_tests([bundle], manifest, **options)
    audio, target = test.model.usage.audio, test.model.usage.target
    augmentations = {name: _augmentation(name, audio) for name in only or CONDITIONS}
    answers = {AS_RECORDED: test.run(what=AS_RECORDED)}
    readable = set(answers[AS_RECORDED].id.tolist())
    read = replace(test, utterances=[utterance for utterance in test.utterances if utterance.id in readable])
    for name, augmentation in augmentations.items():
        title, *_ = CONDITIONS[name]
        changed = _changed(read.recordings(), augmentation, audio.sample_rate, (seed, "stress", name))
        answers[title] = read.run(changed, what=title)
    answers = common_answers(answers)
    confusions = {title: confusions_by("speaker", a, target) for title, a in answers.items()}
    changes = {change.system: change for change in compare(confusions, metrics=["ua"])}
    figures = {title: test.figures(a) for title, a in answers.items()}
    shared = ("bundle", "manifest", "n_speakers", "n_skipped", "left_out", "missing_classes")
    return {key: figures[AS_RECORDED][key] for key in (*shared, "interval_level", "notes", "stamps")} | {
        "conditions": {t: _in_condition(figures[t], confusions[t], changes.get(t)) for t in answers}
    }


def _in_condition(values: Mapping[str, Any], by_speaker: Confusions, change: Comparison | None) -> dict[str, Any]:
    """An evaluation in one condition; `change` is UA minus that of the recordings as they are."""
    ua = [(name, found.ua) for name, found in accuracies_of(by_speaker).items() if name]
    return {key: values[key] for key in ("n_utterances", *METRICS, "intervals", "by_gender", "recall")} | {
        "change": change and change.difference,
        "change_interval": change and change.interval,
        "p_corrected": change and change.p_corrected,
        "worst_speaker": min(ua, key=lambda pair: pair[1], default=None),
    }


def write_figure(result: Mapping[str, Any], path: str) -> None:
    """Draw UA in each condition, with its interval, as .png or .svg; PredictionError if it cannot be written."""
    conditions = result["conditions"]
    with styled():
        figure, ((axis,),) = new_figure(columns=1, height=0.6 + 0.32 * len(conditions))
        axis.axvline(100 * conditions[AS_RECORDED]["ua"], color=MUTED, linewidth=0.8)
        for row, values in enumerate(conditions.values()):
            if ends := values["intervals"]["ua"]:
                axis.plot([100 * end for end in ends], [row, row], **line_style(0) | {"marker": "|"})
            axis.plot([100 * values["ua"]], [row], **line_style(0))
        axis.set_yticks(range(len(conditions)), list(conditions))
        axis.invert_yaxis()
        axis.set_xlabel("UA (%)")
        axis.grid(axis="x")
        stamp(figure, result["stamps"])
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
        wave = torch.from_numpy(np.concatenate(list(recording.waves(rate))))
        generator = torch.Generator().manual_seed(derive_seed(*key, recording.name))
        wave = augmentation.change(wave, generator).clamp(-1, 1)
        yield Samples(wave, rate, recording.covariates, recording.name)
