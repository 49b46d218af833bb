"""A recipe's `training` as frozen values, beside `recipe_schema`.

>>> TrainingSpec(epochs=0)
Traceback (most recent call last):
    ...
toolkit.recipe.field_checks.BadField: epochs must be at least 1, not 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from toolkit.recipe.field_checks import BadField, at_least


@dataclass(frozen=True, kw_only=True)
class OptimizerSpec:
    """The optimizer and its settings where a group says nothing else."""

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: float = 1e-5
    weight_decay: float = 0.01

    def __post_init__(self):
        at_least(self, 0, "learning_rate", "weight_decay")


@dataclass(frozen=True, kw_only=True)
class GroupSpec:
    """Settings of one parameter group; null is the optimizer's."""

    name: Literal["adamw", "adam", "sgd"] | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None

    def __post_init__(self):
        at_least(self, 0, "learning_rate", "weight_decay")


@dataclass(frozen=True, kw_only=True)
class TrainingSpec:
    """The training loop.

    Null: batch_seconds, batches of batch_size; patience, no early stopping; max_grad_norm, no clipping; device, cuda
    where it is.
    """

    epochs: int = 100
    min_epochs: int = 5
    patience: int | None = 8
    batch_size: int = 64
    batch_seconds: float | None = None
    accumulate: int = 1
    sampler: Literal["shuffle", "balanced"] = "shuffle"
    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    groups: Mapping[str, GroupSpec] = field(default_factory=dict)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_steps: int = 0
    max_grad_norm: float | None = 5.0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    compile: bool = False
    device: str | None = None
    workers: int = 0
    feature_cache_mb: float = 20000.0
    feature_precision: Literal["fp32", "fp16"] = "fp32"
    checkpoint_minutes: float = 10.0
    checkpoint_steps: int = 0

    def __post_init__(self):
        at_least(self, 1, "epochs", "patience", "batch_size", "accumulate")
        at_least(
            self,
            0,
            "min_epochs",
            "warmup_steps",
            "workers",
            "feature_cache_mb",
            "checkpoint_minutes",
            "checkpoint_steps",
        )
        if self.batch_seconds is not None and self.batch_seconds <= 0:
            raise BadField(
                "batch_seconds", f"must be above 0, or null for batches of batch_size, not {self.batch_seconds}."
            )
        if self.batch_seconds is not None and self.sampler != "shuffle":
            raise BadField("batch_seconds", f"goes with sampler: shuffle only, and the sampler is {self.sampler}.")
        if self.max_grad_norm is not None and self.max_grad_norm <= 0:
            raise BadField("max_grad_norm", f"must be above 0, or null for no clipping, not {self.max_grad_norm}.")

    def group_settings(self, name: str) -> OptimizerSpec:
        """What a parameter group is trained with: its own settings, the optimizer's where it has none."""
        own = self.groups.get(name, GroupSpec())
        return replace(self.optimizer, **{key: value for key, value in vars(own).items() if value is not None})
