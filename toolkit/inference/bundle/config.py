"""config.json of a bundle: everything that builds and describes its system. Imports no torch."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from toolkit.corpus.targets import LABEL, Target
from toolkit.errors import BundleError, PredictionError, RecipeError, join, one_line
from toolkit.files import DISTRIBUTION, parse_json
from toolkit.inference.summary import CalibrationSummary, TestSummary
from toolkit.model.archive import CONFIG
from toolkit.plugins.kinds import parts
from toolkit.recipe.reading import read_plain
from toolkit.recipe.schema import AudioSpec, ModelSpec, PartSpec, plain_values
from toolkit.statistics.confidence import UNFITTED, Answered, Confidence

FORMAT_VERSION = 3
READS = (1, 2, 3)  # 1 has no `sha256` key; 1 and 2 lack these keys, which get these values:
SINCE_3 = {"confidence": plain_values(UNFITTED), "calibration": {}, "abstaining": {}}


@dataclass(frozen=True)
class Usage:
    """How audio goes into a system and what comes out."""

    labels: tuple[str, ...]  # the classes that are predicted, in the order of the logits
    audio: AudioSpec  # sample rate, longest segment, and how segments weigh in an utterance's mean
    predict_from: str  # the head whose output is the answer
    covariates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # each that a recording needs -> its values
    stamps: tuple[str, ...] = ()  # notes to show beside every result
    confidence: Confidence = UNFITTED

    @property
    def target(self) -> Target:
        """The label, with its classes."""
        return Target(LABEL, self.labels)

    def hop_samples(self, hop_s: float | None) -> int:
        """The hop from one segment's start to the next, in samples; PredictionError below one or above a segment."""
        rate, longest = self.audio.sample_rate, self.audio.segment_samples
        if hop_s is None:
            return longest
        if not (isinstance(hop_s, Real) and 0 < hop_s < math.inf and 1 <= round(hop_s * rate) <= longest):
            seconds = self.audio.segment_seconds
            raise PredictionError(f"The hop is {hop_s!r} s: it must be above 0 and at most a segment, {seconds:g} s")
        return round(hop_s * rate)

    def scores(self, logits: Any) -> Any:
        """Log-probabilities of logits [..., classes] at the temperature; a recording has its segments' mean."""
        return self.target.scores(logits / self.confidence.temperature)


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """What a file of the bundle is checked against: its size and the hexadecimal SHA-256 of its bytes."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, data: bytes) -> "FileFacts":
        """The facts of a file with these bytes."""
        return cls(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """The run that made the weights; docs/bundles.md describes each key."""

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


@dataclass(frozen=True, kw_only=True)
class BundleConfig:
    """The content of config.json; docs/bundles.md describes each key."""

    format_version: int = FORMAT_VERSION
    name: str
    distributions: Mapping[str, str]
    audio: AudioSpec
    classes: Mapping[str, tuple[str, ...]]
    covariates: Mapping[str, tuple[str, ...]]
    model: ModelSpec
    predict_from: str
    training: RunSummary
    trial: tuple[float, ...]
    confidence: Confidence
    calibration: Mapping[str, CalibrationSummary]
    abstaining: Mapping[str, Answered]
    exported_with: Mapping[str, str]
    files: Mapping[str, FileFacts]

    @property
    def usage(self) -> Usage:
        """How audio goes in and what comes out."""
        labels, stamps = self.classes[LABEL], self.training.stamps
        return Usage(labels, self.audio, self.predict_from, self.covariates, stamps, self.confidence)

    def parts(self) -> Iterator[tuple[str, str, PartSpec]]:
        """Every plugin that the system is built from: its kind, its location in the recipe and its part of it."""
        for kind, location, part in parts(self):
            if kind.bundled:
                yield kind.name, location, part

    def text(self) -> str:
        """The file's content."""
        values = plain_values(self)
        values["sha256"] = own_sha256(values)
        return json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def own_sha256(values: Mapping[str, Any]) -> str:
    """The SHA-256 of all other keys of config.json and their values, in their order; white space does not count."""
    return hashlib.sha256(json.dumps({k: v for k, v in values.items() if k != "sha256"}).encode()).hexdigest()


def read_config(data: bytes) -> BundleConfig:
    """Read the file's content; BundleError if it is damaged, changed or not a bundle's."""
    try:
        values = parse_json(data, strict=True)
    except ValueError as error:
        raise BundleError(f"{CONFIG} cannot be read as JSON: {one_line(str(error))}; get the bundle again.") from None
    if not isinstance(values, dict) or "format_version" not in values:
        raise BundleError(f"{CONFIG} has no format_version: this is not a bundle. `toolkit export` makes bundles.")
    if (found := values["format_version"]) not in READS:
        known = f"this {DISTRIBUTION} reads {join(map(str, READS))}. Install the version that wrote it, or a newer one"
        raise BundleError(f"{CONFIG}: format_version is {one_line(repr(found))}, but {known}.")
    if found > 1 and values.pop("sha256", None) != own_sha256(values):
        raise BundleError(f"{CONFIG} is not the file that was exported (its content has another sha256): get it again.")
    try:
        return read_plain(BundleConfig, values if found > 2 else SINCE_3 | values)
    except RecipeError as error:
        raise BundleError(f"{CONFIG}: {one_line(str(error))}") from None
