"""What a bundle says of the training behind it, and of the test that it passed; no torch."""

from collections.abc import Mapping
from dataclasses import dataclass

from toolkit.statistics import Accuracies


@dataclass(frozen=True, kw_only=True)
class TestSummary:
    """The test part's result; accuracies are fractions of 1.

    Args:
        n_utterances: of the test part.
        wa: weighted accuracy.
        ua: unweighted accuracy.
        macro_f1: mean F1 of the classes.
        wa_interval: of WA over speakers like these (95 %); None where the speakers are too few or not known.
        ua_interval: of UA, as above.
        recall: class -> its recall; None where the test part does not hold it.
        f1: class -> F1.
        confusion: counts; rows are the reference, columns the prediction, in the order of the classes.
        ece: expected calibration error.
        confidence: mean probability of the predicted class.
        by_gender: gender -> accuracies; empty where no gender is known.
    """

    __test__ = False  # no test, whatever its name says to pytest

    n_utterances: int
    wa: float
    ua: float
    macro_f1: float
    wa_interval: tuple[float, float] | None
    ua_interval: tuple[float, float] | None
    recall: Mapping[str, float | None]
    f1: Mapping[str, float]
    confusion: tuple[tuple[int, ...], ...]
    ece: float
    confidence: float
    by_gender: Mapping[str, Accuracies]


@dataclass(frozen=True, kw_only=True)
class TrainingSummary:
    """One run.

    Args:
        corpus: the corpus plugin's name.
        description: what is recorded in it, or None.
        licence: what its data may be used for, or None.
        manifest_sha256: of all that the corpus says of the utterances used, the paths relative to its folder.
        protocol: how the corpus was split.
        fold: which of the splits.
        seed: of the run.
        epoch: the one whose weights these are.
        epochs: how many were trained.
        utterances: train, valid, test -> utterances.
        speakers: train, valid, test -> speakers with a name.
        pretrained: level -> the pre-trained weights that it began with, or None.
        random_backbones: levels that are usually pre-trained and began with random weights.
        parameters: their number, frozen ones included.
        precision: fp32, bf16 or fp16.
        hardware: on which it was trained.
        seconds: of all epochs.
        versions: library or distribution -> version, in training.
        stamps: what has to be said of these figures.
        test: the result.
    """

    corpus: str
    description: str | None
    licence: str | None
    manifest_sha256: str
    protocol: str
    fold: str
    seed: int
    epoch: int
    epochs: int
    utterances: Mapping[str, int]
    speakers: Mapping[str, int]
    pretrained: Mapping[str, str | None]
    random_backbones: tuple[str, ...]
    parameters: int
    precision: str
    hardware: str
    seconds: float
    versions: Mapping[str, str]
    stamps: tuple[str, ...]
    test: TestSummary
