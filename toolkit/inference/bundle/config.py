"""config.json of a bundle: everything that builds and describes its system, as values that check themselves.

Imports no torch: a bundle that cannot be used is refused before anything heavy is imported.
"""

import hashlib
import json
import math
import re
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
from toolkit.recipe.checks import BadField, at_least, require_known
from toolkit.recipe.reading import read_plain
from toolkit.recipe.schema import AudioSpec, ModelSpec, PartSpec, plain_values
from toolkit.statistics.abstention import PERCENTS, UNFITTED, Answered, Confidence
from toolkit.statistics.calibration import TEMPERATURES

FORMAT_VERSION = 3
READS = (1, 2, 3)  # 1 has no `sha256` key; 1 and 2 lack these keys, which get these values:
SINCE_3 = {"confidence": plain_values(UNFITTED), "calibration": {}, "abstaining": {}}


@dataclass(frozen=True)
class Usage:
    """How audio goes into a system and what comes out; `BundleConfig` checks the values."""

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
        """The hop from one segment's start to the next, in samples at the system's rate; None: a whole segment.

        Raises: PredictionError if it is below one sample, or longer than a segment.
        """
        rate, longest = self.audio.sample_rate, self.audio.segment_samples
        if hop_s is None:
            return longest
        if not (isinstance(hop_s, Real) and 0 < hop_s < math.inf and 1 <= round(hop_s * rate) <= longest):
            needed = f"it must be above 0 and at most a segment, {self.audio.segment_seconds:g} s"
            raise PredictionError(f"The hop is {hop_s!r} s: {needed}")
        return round(hop_s * rate)

    def scores(self, logits: Any) -> Any:
        """Log-probabilities of logits [..., classes] at the temperature; a recording has its segments' mean."""
        return self.target.scores(logits / self.confidence.temperature)


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """What a file of the bundle is checked against: its size and the hexadecimal SHA-256 of its bytes."""

    bytes: int
    sha256: str

    def __post_init__(self):
        at_least(self, 0, "bytes")
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise BadField("sha256", "is not a SHA-256: 64 hexadecimal digits are needed.")

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
    """The content of config.json; docs/bundles.md describes each key.

    Raises: BadField if two fields contradict each other.
    """

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

    def __post_init__(self):
        require_known("predict_from", [self.predict_from], self.model.heads, "head")
        if self.model.heads[self.predict_from].target != "label":
            raise BadField("predict_from", f"names {self.predict_from!r}, which does not predict the label.")
        for _, location, part in self.parts():
            distribution, _, name = part.plugin.rpartition(":")
            if distribution not in self.distributions or not name:
                problem = f"is {part.plugin!r}; DISTRIBUTION:NAME is needed, with one of `distributions`."
                raise BadField(f"{location}.plugin", problem)
        targets = ["label", *(head.target for head in self.model.heads.values()), *self.model.covariates]
        require_known("classes", targets, self.classes, "key")
        for target in targets:
            classes = self.classes[target]
            if len(classes) < 2 or len(set(classes)) < len(classes):
                raise BadField(f"classes.{target}", "needs two or more different classes.")
        refuse_shuffled(self.model)
        given = {n: self.classes[n] for n, spec in self.model.covariates.items() if spec.source == "label"}
        if dict(self.covariates) != given:
            raise BadField("covariates", f"are not those of model.covariates with their classes: {given}.")
        if len(self.trial) != len(self.classes["label"]) or not math.isclose(sum(self.trial), 1, abs_tol=1e-3):
            raise BadField("trial", f"is not {len(self.classes['label'])} probabilities that sum to 1.")
        confidence = self.confidence
        if not TEMPERATURES[0] <= confidence.temperature <= TEMPERATURES[1]:
            raise BadField("confidence.temperature", f"must be from {TEMPERATURES[0]:g} to {TEMPERATURES[1]:g}.")
        for kind in ("coverage", "error"):
            if confidence.utterances and len(getattr(confidence, kind)) != len(PERCENTS):
                raise BadField(f"confidence.{kind}", f"needs {len(PERCENTS)} thresholds.")
        require_known("training.pretrained", self.training.pretrained, self.model.levels, "level")
        require_known("training.random_backbones", self.training.random_backbones, self.model.levels, "level")

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
        """The file's content; BundleError if an argument is a value that JSON cannot hold."""
        values = plain_values(self)
        try:
            values["sha256"] = own_sha256(values)
            return json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        except (TypeError, ValueError) as error:
            raise BundleError(f"{self.name}: an argument cannot be written to {CONFIG}: {error}.") from None


def refuse_shuffled(model: ModelSpec) -> None:
    """Refuse a model with a shuffled covariate: BadField names it."""
    problem = "is shuffled: such values exist only for the system's own corpus. Use label or predicted."
    for name, spec in model.covariates.items():
        if spec.source == "shuffled":
            raise BadField(f"model.covariates.{name}.source", problem)


def own_sha256(values: Mapping[str, Any]) -> str:
    """The SHA-256 of all other keys of config.json and their values, in their order; white space does not count."""
    return hashlib.sha256(json.dumps({k: v for k, v in values.items() if k != "sha256"}).encode()).hexdigest()


def read_config(data: bytes) -> BundleConfig:
    """Read and check the file's content; BundleError names the key that is wrong."""
    try:
        values = parse_json(data, strict=True)
    except ValueError as error:
        raise BundleError(f"{CONFIG} cannot be read as JSON: {one_line(str(error))}; get the bundle again.") from None
    if not isinstance(values, dict) or "format_version" not in values:
        raise BundleError(f"{CONFIG} has no format_version: this is not a bundle. `toolkit export` makes bundles.")
    if type(found := values["format_version"]) is not int or found not in READS:
        raise BundleError(
            f"{CONFIG}: format_version is {one_line(repr(found))}, but this {DISTRIBUTION} reads "
            f"{join(map(str, READS))}. Install the version that wrote the bundle, or a newer one."
        )
    try:
        own = values.pop("sha256", None) if found > 1 else None
        complete = values if found > 2 else SINCE_3 | values
        config = read_plain(BundleConfig, complete)
        difference = _difference(plain_values(config), complete, "")
    except RecipeError as error:
        raise BundleError(f"{CONFIG}: {one_line(str(error))}") from None
    if difference:  # a key that is missing or null, where a recipe would have its default
        raise BundleError(f"{CONFIG}: {one_line(difference)}: a value is needed here.")
    if config.format_version > 1 and own != own_sha256(values):
        raise BundleError(f"{CONFIG} is not the file that was exported (its content has another sha256): get it again.")
    return config


def _difference(expected: Any, found: Any, path: str) -> str:
    """The first path at which two trees of plain values differ, "" if they do not."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in expected | found:
            if where := _difference(expected.get(key, ...), found.get(key, ...), f"{path}.{key}"):
                return where
        return ""
    return "" if expected == found else path.lstrip(".")
