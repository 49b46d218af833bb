"""What is said of a run's training and test, computed from its files; no torch."""

import hashlib
import json
import re

import numpy as np

from toolkit.corpus.folds import PARTS
from toolkit.corpus.targets import LABEL, Target
from toolkit.inference.bundle.trained_run import TrainedRun
from toolkit.inference.bundle.training import TestSummary, TrainingSummary
from toolkit.plugins.registry import find_part
from toolkit.report.evidence import Answers
from toolkit.statistics import METRICS, expected_calibration_error, interval, speaker_confusions
from toolkit.training.identity import manifest_rows


def summarise(run: TrainedRun, *, random_backbones: tuple[str, ...]) -> TrainingSummary:
    """All that a bundle says of the run that made its weights.

    Args:
        run: finished.
        random_backbones: levels that are usually pre-trained and began with random weights.
    """
    results, corpus = run.results, find_part("corpus", run.recipe.corpus).load()
    parts = {part: run.part(part) for part in PARTS}
    return TrainingSummary(
        corpus=run.recipe.corpus.plugin,
        description=corpus.description,
        licence=corpus.licence,
        manifest_sha256=_sha256(manifest_rows(run.utterances)),
        protocol=run.fold.protocol,
        fold=run.fold.name,
        seed=run.recipe.seed,
        epoch=results["epoch"],
        epochs=results["epochs"],
        utterances={part: len(members) for part, members in parts.items()},
        speakers={part: len({u.speaker for u in members} - {None}) for part, members in parts.items()},
        pretrained={name: weights_name(source) for name, source in results["pretrained"].items()},
        random_backbones=random_backbones,
        parameters=results["parameters"],
        precision=results["precision"],
        hardware=results["hardware"],
        seconds=results["seconds"],
        versions=results["versions"],
        stamps=tuple(results["stamps"]),
        test=summarise_test(run.answers, run.targets[LABEL]),
    )


def summarise_test(answers: Answers, target: Target) -> TestSummary:
    """Accuracies, intervals over speakers, calibration and gender of the test part."""
    found = target.summary(answers.reference, answers.predicted)
    intervals = dict.fromkeys(METRICS)
    if (answers.speaker != "").all():
        counts = speaker_confusions(
            answers.speaker.tolist(), answers.reference, answers.predicted, classes=target.classes
        ).counts
        for metric in METRICS:
            if (ends := interval(counts, metric)) is not None:
                intervals[metric] = (ends.low, ends.high)
    known = answers.gender != ""
    by_gender = {}
    if known.any():
        by_gender = speaker_confusions(
            answers.gender[known].tolist(), answers.reference[known], answers.predicted[known], classes=target.classes
        ).accuracies
    return TestSummary(
        **{key: found[key] for key in ("n_utterances", *METRICS, "macro_f1", "recall", "f1")},
        wa_interval=intervals["wa"],
        ua_interval=intervals["ua"],
        confusion=tuple(map(tuple, found["confusion"])),
        ece=expected_calibration_error(answers.probabilities, answers.reference, labels=target.classes),
        confidence=float(np.mean(answers.probabilities.max(axis=1))),
        by_gender=dict(sorted(by_gender.items())),
    )


def weights_name(source: str | None) -> str | None:
    """What is said of pre-trained weights: of a path its last name, since a bundle tells nothing of its maker's disk.

    >>> weights_name("/data/checkpoints/w2v"), weights_name("facebook/wav2vec2-base-960h")
    ('w2v', 'facebook/wav2vec2-base-960h')
    """
    if source is None:
        return None
    is_path = re.match(r"[/~.\\]|\w:[/\\]", source) or source.count("/") > 1
    return re.split(r"[/\\]", source.rstrip("/\\"))[-1] if is_path else source


def _sha256(rows: list[dict]) -> str:
    return hashlib.sha256(json.dumps(rows, sort_keys=True, default=str).encode()).hexdigest()
