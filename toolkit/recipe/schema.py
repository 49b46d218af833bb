"""The parts of a recipe as frozen values: their keys, types, defaults and the checks that need no plugin."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal, Protocol

from toolkit.recipe.checks import NOWHERE, BadField, Location, at_least, require_known
from toolkit.recipe.training import TrainingSpec

HIGHEST_RATE = 768_000  # Hz
LONGEST_SEGMENT = 2**22  # samples: four minutes at 16 kHz
MOST_PARTS = 100  # of each kind in a system
FUSED = "fused"
EVERY_HEAD = "*"
GROUPS = ("covariates", "fusion", "heads", "losses")  # parameter groups besides the levels
# Names that are taken elsewhere: by parameter groups, arrays of embeddings.npz, columns, attributes of torch's modules.
TAKEN = {
    "levels": (FUSED, *GROUPS, "id", "reference", "note", "file"),
    "covariates": ("label", "id", "path", "note"),
    "targets": ("note",),
}
OF_MODULES = ("children", "float", "items", "keys", "modules", "train", "training", "type", "update", "values")


def names_in(on: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """The names in the `on` of a part: one, several or none."""
    return (on,) if isinstance(on, str) else on or ()


@dataclass(frozen=True, kw_only=True)
class PartSpec:
    """A plugin with its arguments: the corpus, a level's extractor, the fusion. `where` is for messages."""

    plugin: str
    args: Mapping[str, Any] = field(default_factory=dict)
    where: Location = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class HeadSpec(PartSpec):
    """A classifier of one target on an embedding ("fused" or a level's name), or on several side by side."""

    on: str | tuple[str, ...] = FUSED
    target: str = "label"


@dataclass(frozen=True, kw_only=True)
class LossSpec(PartSpec):
    """A loss `on` a head's logits, an embedding, a list of them, or "*": all heads; `weight`: its factor in the sum."""

    on: str | tuple[str, ...]
    target: str = "label"  # of a loss on an embedding; a loss on a head has the head's target
    weight: float = 1.0

    def __post_init__(self):
        at_least(self, 0, "weight")


@dataclass(frozen=True, kw_only=True)
class AugmentationSpec(PartSpec):
    """A random change of the training part."""

    p: float = 1.0  # the probability for a segment (for features: a level of a segment; if rows are mixed: a batch)
    on: str | tuple[str, ...] | None = None  # the level or levels whose waveform or features are changed; null: all

    def __post_init__(self):
        if not 0 <= self.p <= 1:
            raise BadField("p", f"must be a probability from 0 to 1; it is {self.p}.")


@dataclass(frozen=True, kw_only=True)
class CovariateSpec:
    """Something about an utterance that the fusion takes: label (given), predicted (by a small head), or shuffled."""

    source: Literal["label", "predicted", "shuffled"]
    level: str | None = None  # only with predicted: whose frames the small head reads
    weight: float | None = None  # only with predicted: of its cross entropy, 0.1 by default

    def __post_init__(self):
        if self.source == "predicted":
            object.__setattr__(self, "weight", 0.1 if self.weight is None else self.weight)
            at_least(self, 0, "weight")
            if self.level is None:
                raise BadField("level", "is needed with source: predicted; name the level it is predicted from.")
        for name in ("level", "weight"):
            if self.source != "predicted" and getattr(self, name) is not None:
                raise BadField(name, f"goes with source: predicted only, and the source is {self.source}.")


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """What the system consists of."""

    levels: Mapping[str, PartSpec]
    covariates: Mapping[str, CovariateSpec] = field(default_factory=dict)
    fusion: PartSpec
    heads: Mapping[str, HeadSpec]
    losses: Mapping[str, LossSpec]

    def __post_init__(self):
        for family in ("levels", "covariates", "heads", "losses"):
            parts = getattr(self, family)
            if not parts and family != "covariates":
                raise BadField(family, "is empty; at least one is needed.")
            if len(parts) > MOST_PARTS:
                raise BadField(family, f"has {len(parts)} entries; at most {MOST_PARTS} are allowed.")
            for name, part in parts.items():
                _check_name(family, name)
                if name in (*TAKEN.get(family, ()), *OF_MODULES):
                    raise BadField(f"{family}.{name}", f"cannot be used: the name {name!r} is reserved.")
                if (target := getattr(part, "target", None)) in TAKEN["targets"]:
                    raise BadField(f"{family}.{name}.target", f"cannot be used: the column {target!r} is reserved.")
        embeddings = (FUSED, *self.levels)
        for name, head in self.heads.items():
            _check_on(f"heads.{name}", head.on, embeddings, "embedding")
        for name, loss in self.losses.items():
            if loss.on != EVERY_HEAD:
                _check_on(f"losses.{name}", loss.on, (*self.heads, *embeddings), "head or embedding")
        for name, covariate in self.covariates.items():
            if covariate.level is not None:
                require_known(f"covariates.{name}.level", [covariate.level], self.levels, "level")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a corpus that the system predicts or reads: label, other targets, covariates."""
        targets = [part.target for part in (*self.heads.values(), *self.losses.values())]
        return tuple(dict.fromkeys(("label", *targets, *self.covariates)))

    @property
    def pretrained(self) -> dict[str, str]:
        """The pre-trained weights that are named: "model.levels.whisper.args.source" -> "openai/whisper-tiny.en"."""
        args = {f"model.levels.{n}.args.{key}": v for n, p in self.levels.items() for key, v in p.args.items()}
        return {key: v for key, v in args.items() if key.endswith((".source", ".weights")) and v != "random"}


def _check_name(family: str, name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise BadField(f"{family}.{name}", "is not a name: letters, digits, '_' and '-' only.")


def _check_on(part: str, on: str | tuple[str, ...], choices: Iterable[str], noun: str) -> None:
    names = names_in(on)
    if not names or len(set(names)) < len(names):
        raise BadField(f"{part}.on", f"must name at least one {noun}, each once, not {list(names)}.")
    require_known(f"{part}.on", names, choices, noun)


@dataclass(frozen=True, kw_only=True)
class ProtocolSpec:
    """How folds are made."""

    name: str
    args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AudioSpec:
    """How segments are cut: sample_rate in Hz, segment_seconds, and `tail`, the weight of an utterance's last one."""

    sample_rate: int = 16000
    segment_seconds: float = 3.0
    tail: Literal["weighted", "equal"] = "weighted"

    def __post_init__(self):
        at_least(self, 1, "sample_rate")
        if self.sample_rate > HIGHEST_RATE:
            raise BadField("sample_rate", f"must be at most {HIGHEST_RATE:,}, not {self.sample_rate:,}.")
        if not 0.5 < self.segment_seconds * self.sample_rate <= LONGEST_SEGMENT:  # 0.5 rounds to 0
            limits = f"at least a sample and at most {LONGEST_SEGMENT / self.sample_rate:.4g} at {self.sample_rate} Hz"
            raise BadField("segment_seconds", f"must be {limits}, not {self.segment_seconds}.")

    @property
    def segment_samples(self) -> int:
        """Samples of a whole segment."""
        return round(self.segment_seconds * self.sample_rate)


@dataclass(frozen=True, kw_only=True)
class PublishedSpec:
    """What was published for a system (WA and UA in percent), shown beside results on the same corpus."""

    corpus: str | None = None
    wa: float | None = None
    ua: float | None = None
    source: str | None = None

    def __post_init__(self):
        for name in ("wa", "ua"):
            if (value := getattr(self, name)) is None:
                continue
            if not 1 < value <= 100:
                raise BadField(name, f"is a percentage, above 1 and at most 100, not {value}.")
            if not (self.corpus and self.source):
                raise BadField(name, "needs a corpus and a source beside it.")


class Composition(Protocol):
    """What a system is built from: a recipe, or what a bundle keeps of one."""

    audio: AudioSpec
    model: ModelSpec


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole recipe with its defaults, checked as far as possible without its plugins."""

    name: str
    corpus: PartSpec
    data_folder: str | None = None
    labels: tuple[str, ...] | None = None
    label_map: Mapping[str, str | None] = field(default_factory=dict)
    normalize: bool | None = None
    numbers_as_classes: str | tuple[str, ...] = ()
    shared_audio: Literal["refuse", "allow"] = "refuse"
    protocol: ProtocolSpec
    fold: str | int | None = None
    seed: int = 1
    output_folder: str = "results"
    audio: AudioSpec = field(default_factory=AudioSpec)
    model: ModelSpec
    predict_from: str | None = None
    augmentations: Mapping[str, AugmentationSpec] = field(default_factory=dict)
    training: TrainingSpec = field(default_factory=TrainingSpec)
    published: PublishedSpec = field(default_factory=PublishedSpec)

    def __post_init__(self):
        object.__setattr__(self, "fold", None if self.fold is None else str(self.fold))
        if not re.fullmatch(r"[^\W_][\w.+-]{0,99}", self.name):
            raise BadField("name", f"{self.name!r} names folders: at most 100 letters, digits and '_-+.'.")
        object.__setattr__(self, "numbers_as_classes", names_in(self.numbers_as_classes))
        at_least(self, 0, "seed")
        if self.predict_from is None:
            if len(self.model.heads) > 1:
                raise BadField("predict_from", f"is needed: which of {', '.join(self.model.heads)} gives the answer?")
            object.__setattr__(self, "predict_from", next(iter(self.model.heads)))
        require_known("predict_from", [self.predict_from], self.model.heads, "head")
        target = self.model.heads[self.predict_from].target
        if target != "label":
            raise BadField("predict_from", f"names {self.predict_from!r}, which predicts {target!r} and not the label.")
        trained = {name for loss in self.model.losses.values() for name in names_in(loss.on)}
        if not trained & {EVERY_HEAD, self.predict_from}:
            raise BadField("predict_from", f"names {self.predict_from!r}, and no loss in model.losses trains it.")
        for name, augmentation in self.augmentations.items():
            _check_name("augmentations", name)
            if augmentation.on is not None:
                _check_on(f"augmentations.{name}", augmentation.on, self.model.levels, "level")
        require_known("numbers_as_classes", self.numbers_as_classes, self.model.columns, "target or covariate")
        for name in self.training.groups:
            require_known(f"training.groups.{name}", [name], (*self.model.levels, *GROUPS), "parameter group")
        if self.labels is not None:
            if len(set(self.labels)) < len(self.labels) or len(self.labels) < 2:
                raise BadField("labels", f"must be at least two, all different, not {list(self.labels)}.")
            for old, new in self.label_map.items():
                require_known(f"label_map.{old}", [] if new is None else [new], self.labels, "label")

    def as_dict(self) -> dict[str, Any]:
        """The recipe as plain text, numbers, lists and dicts, as a run's folder keeps it."""
        return plain_values(self)


def plain_values(value: Any) -> Any:
    """A schema's dataclass as plain text, numbers, lists and dicts, without locations."""
    if is_dataclass(value):
        return {f.name: plain_values(getattr(value, f.name)) for f in fields(value) if f.name != "where"}
    if isinstance(value, Mapping):
        return {key: plain_values(item) for key, item in value.items()}
    return [plain_values(item) for item in value] if isinstance(value, (list, tuple)) else value
