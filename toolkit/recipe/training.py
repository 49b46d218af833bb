"""A recipe's `training` as frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from toolkit.recipe.checks import BadField, Location, at_least

OptimizerName = Literal[
    "adadelta", "adafactor", "adagrad", "adam", "adamax", "adamw", "nadam", "radam", "rmsprop", "sgd"
]


@dataclass(frozen=True, kw_only=True)
class OptimizerSpec:
    """The optimizer and its settings, for all groups that have none of their own."""

    name: OptimizerName = "adamw"
    learning_rate: float = 1e-5
    weight_decay: float = 0.01
    args: Mapping[str, Any] = field(default_factory=dict)
    where: Location = field(default=Location("training.optimizer"), compare=False, repr=False)

    def __post_init__(self):
        at_least(self, 0, "learning_rate", "weight_decay")


@dataclass(frozen=True, kw_only=True)
class GroupSpec:
    """Settings of one parameter group; null: the optimizer's. `args` extend the optimizer's unless `name` differs."""

    name: OptimizerName | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    layer_decay: float = 1.0  # learning rate of a layer of pre-trained weights / that of the layer above it
    args: Mapping[str, Any] = field(default_factory=dict)
    where: Location = field(default=Location("training.groups"), compare=False, repr=False)

    def __post_init__(self):
        at_least(self, 0, "learning_rate", "weight_decay")
        if not 0 < self.layer_decay <= 1:
            raise BadField("layer_decay", f"must be above 0 and at most 1, not {self.layer_decay}.")


@dataclass(frozen=True, kw_only=True)
class ScheduleSpec:
    """How the learning rates change after the warm-up."""

    name: Literal["constant", "linear", "cosine", "step", "exponential", "cosine_restarts"] = "constant"
    args: Mapping[str, Any] = field(default_factory=dict)
    where: Location = field(default=Location("training.schedule"), compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class AverageSpec:
    """Which average of the weights is validated and tested; `start`: its first epoch, 0 for the initial weights."""

    name: Literal["none", "ema", "swa"] = "none"
    decay: float = 0.99
    start: int = 1

    def __post_init__(self):
        at_least(self, 0, "start")
        if not 0 <= self.decay < 1:
            raise BadField("decay", f"must be at least 0 and below 1, not {self.decay}.")


@dataclass(frozen=True, kw_only=True)
class ProbeSpec:
    """A first phase with frozen pre-trained weights; the rest starts from its best epoch (Kumar et al., ICLR 2022)."""

    epochs: int = 0  # 0: no such phase
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    patience: int | None = None  # null: no early stopping

    def __post_init__(self):
        at_least(self, 0, "epochs", "learning_rate", "weight_decay")
        at_least(self, 1, "patience")


@dataclass(frozen=True, kw_only=True)
class TrainingSpec:
    """The training loop."""

    fit_passes: int = 0
    epochs: int = 100
    min_epochs: int = 5
    patience: int | None = 8  # null: no early stopping
    batch_size: int = 64
    batch_seconds: float | None = None  # null: batches of batch_size
    accumulate: int = 1
    sampler: Literal["shuffle", "balanced"] = "shuffle"
    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    groups: Mapping[str, GroupSpec] = field(default_factory=dict)
    schedule: ScheduleSpec = field(default_factory=ScheduleSpec)
    warmup_steps: int = 0
    max_grad_norm: float | None = 5.0  # null: no clipping
    average: AverageSpec = field(default_factory=AverageSpec)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    compile: bool = False
    device: str | None = None  # null: cuda if there is one
    workers: int = 0
    feature_cache_mb: float = 20000.0
    feature_precision: Literal["fp32", "fp16"] = "fp32"
    checkpoint_minutes: float = 10.0
    checkpoint_steps: int = 0
    loggers: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] | None = None  # null: TensorBoard if it is installed
    probe: ProbeSpec = field(default_factory=ProbeSpec)
    init_from: str | None = None  # a bundle to start from

    def __post_init__(self):
        at_least(self, 1, "patience", "batch_size", "accumulate")
        at_least(self, 0, "fit_passes", "epochs", "min_epochs", "warmup_steps", "workers")
        at_least(self, 0, "feature_cache_mb", "checkpoint_minutes", "checkpoint_steps")
        for name, none in (("batch_seconds", "batches of batch_size"), ("max_grad_norm", "no clipping")):
            if (value := getattr(self, name)) is not None and value <= 0:
                raise BadField(name, f"must be above 0, or null for {none}, not {value}.")
        if self.batch_seconds is not None and self.sampler != "shuffle":
            raise BadField("batch_seconds", f"goes with sampler: shuffle only, and the sampler is {self.sampler}.")

    @property
    def has_arguments(self) -> bool:
        """Whether an optimizer or the schedule has or needs arguments, which only torch can check."""
        specs = (self.optimizer, self.schedule, *self.groups.values())
        return any(spec.args for spec in specs) or self.schedule.name not in ("constant", "linear", "cosine")

    @property
    def probe_settings(self) -> "TrainingSpec":
        """The settings of the probe phase: its own, or the training's where it has none; no groups."""
        probe = self.probe
        optimizer = replace(self.optimizer, learning_rate=probe.learning_rate, weight_decay=probe.weight_decay)
        off = {"probe": ProbeSpec(), "average": AverageSpec(), "groups": {}, "min_epochs": 0, "warmup_steps": 0}
        return replace(self, epochs=probe.epochs, patience=probe.patience, optimizer=optimizer, compile=False, **off)

    def group_settings(self, name: str) -> OptimizerSpec:
        """The settings of a parameter group: its own, or the optimizer's where it has none."""
        if (own := self.groups.get(name)) is None:
            return self.optimizer
        values = {key: value for key, value in vars(own).items() if value is not None and key != "layer_decay"}
        if own.name in (None, self.optimizer.name):
            values["args"] = {**self.optimizer.args, **own.args}
        return replace(self.optimizer, **values)
