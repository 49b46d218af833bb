"""Training steps of the reference system on batches in memory, taken by the training loop; their operations."""

import tempfile
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from toolkit.contracts import Seq
from toolkit.corpus.targets import Target
from toolkit.data.batches import EpochBatches, seed_all
from toolkit.data.segments import Batch
from toolkit.model.system import System, build_system
from toolkit.recipe.loading import load_recipe
from toolkit.recipe.schema import Recipe
from toolkit.training.loop.brain import SystemBrain
from toolkit.training.loop.objective import TrainStep, build_objective, compile_system

RECIPE = Path(__file__).parents[1] / "recipes/iemocap/hparams/mtl_cr.yaml"
WAV2VEC2 = "--model.levels.wav2vec2.args."
RANDOM = (
    "--model.levels.spectrogram.args.weights=random",
    *(f"{WAV2VEC2}{setting}" for setting in ("source=random", "layerdrop=0", "spec_augment=false")),
)
SMALL = ("--training.batch_size=2",)
CLASS_COUNTS = [1103, 1636, 1708, 1084]  # IEMOCAP's
MANY = 100_000  # batches in an epoch that does not end


@dataclass(frozen=True)
class Variant:
    """One way to train the reference system.

    Args:
        overrides: of the recipe, in addition to random weights.
        compiled: with training.compile.
        cached: batches hold the front ends' features.
        contiguous: the spectrogram's image is contiguous in memory, not channels-last.
        fused: the optimizer has fused kernels.
        asks: lengths and each loss are read from the device at once, as in loops that wait.
    """

    overrides: tuple[str, ...] = ()
    compiled: bool = False
    cached: bool = False
    contiguous: bool = False
    fused: bool = True
    asks: bool = False


def read_recipe(variant: Variant, *, device: str, tiny: bool) -> Recipe:
    """mtl_cr.yaml at its full size; if `tiny`, its settings without data, with small batches."""
    overrides = (*RANDOM, f"--training.device={device}", *variant.overrides)
    return load_recipe(RECIPE, (*overrides, *SMALL) if tiny else overrides, data_available=not tiny)


def build_step(recipe: Recipe) -> TrainStep:
    """A system with the same weights every time; they are drawn only once, because that takes long."""
    key = str(recipe.model)
    if key not in _drawn:
        seed_all(1)
        system = build_system(recipe, Target.by_name({"label": recipe.labels}))
        _drawn[key] = TrainStep(system, build_objective(recipe, system, {"label": CLASS_COUNTS}))
    return deepcopy(_drawn[key])


_drawn: dict[str, TrainStep] = {}


def noise(recipe: Recipe, *, rows: int, count: int, device: str) -> list[Batch]:
    """Batches of noise in the CPU's memory, pinned for a GPU; all segments have full length."""
    samples, generator = recipe.audio.segment_samples, torch.Generator().manual_seed(0)
    batches = [
        Batch(
            inputs=Seq(0.1 * torch.randn(rows, samples, generator=generator), torch.full((rows,), samples), full=True),
            targets={"label": torch.randint(4, (rows,), generator=generator)},
            covariates={},
            utterances=torch.arange(rows),
            weights=torch.ones(rows),
        )
        for _ in range(count)
    ]
    return [batch.pin_memory() if device == "cuda" else batch for batch in batches]


def with_features(batch: Batch, system: System, device: str) -> Batch:
    """The batch with features, as the feature cache gives it."""
    features = {name: seq.to("cpu") for name, seq in system.features(batch.inputs.to(device)).items()}
    if device == "cuda":
        torch.cuda.synchronize()
        features = {name: seq.pin_memory() for name, seq in features.items()}
    return replace(batch, inputs=features)


class Training:
    """A SystemBrain that trains step by step.

    Args:
        variant: how it trains.
        device: where it trains.
        tiny: use the small system.
        batches: number of batches, taken in turn.
    """

    def __init__(self, variant: Variant, *, device: str, tiny: bool = False, batches: int = 4):
        recipe = read_recipe(variant, device=device, tiny=tiny)
        self.variant, self.rows = variant, recipe.training.batch_size
        self._folder = tempfile.TemporaryDirectory()
        self.brain = _brain(recipe, Path(self._folder.name))
        if variant.compiled:
            compile_system(self.brain.system, backend="aot_eager" if tiny else "inductor")
        if variant.contiguous:
            backbone = self.brain.system.levels["spectrogram"].backbone
            backbone.register_forward_pre_hook(lambda module, args: (args[0].contiguous(),))
        if not variant.fused:
            self.brain.optimizers_dict = {n: _not_fused(o) for n, o in self.brain.optimizers_dict.items()}
        made = noise(recipe, rows=self.rows, count=batches, device=device)
        if variant.asks:
            made = [replace(b, inputs=replace(b.inputs, full=False)) for b in made]
        if variant.cached:
            made = [with_features(batch, self.brain.system, device) for batch in made]
        self._batches = cycle(made)

    def step(self) -> Tensor:
        """Take one step like the training loop; returns its loss, on the device."""
        self.brain.step += 1
        loss = self.brain.fit_batch(next(self._batches))
        self.brain.update_average(loss, 0.0)
        if self.variant.asks:
            loss.item()
        return loss


def _brain(recipe: Recipe, folder: Path) -> SystemBrain:
    train_step, rows = build_step(recipe), recipe.training.batch_size
    classes = torch.arange(rows * MANY) % 4
    brain = SystemBrain(
        train_step.system,
        train_step.objective,
        training=recipe.training,
        sampler=EpochBatches(classes, batch_size=rows, seed=1, targets={"label": classes}),
        rules=("valid",),
        folder=folder,
        targets={},
        metrics=lambda scores: {},
        on_epoch=lambda history: None,
    )
    brain.init_optimizers()
    brain.modules.train()
    return brain


def _not_fused(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    names = ("params", "lr", "base_lr", "weight_decay")
    return type(optimizer)([{name: group[name] for name in names} for group in optimizer.param_groups])


def operations(loss: Callable[[], Tensor]) -> int:
    """Floating-point operations of a step's matrix products and convolutions: three times those of the forward pass.

    The backward pass has two products for each one; torch's counter would count that of a grouped convolution as a
    full one. Attention and the LSTM are counted by their products, whichever kernels compute them elsewhere.
    """
    counter = FlopCounterMode(display=False)
    with torch.backends.mkldnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH), counter, torch.no_grad():
        loss()
    return 3 * counter.get_total_flops()


def operations_of(variant: Variant, *, tiny: bool) -> int:
    """Operations of one segment in a step."""
    recipe = read_recipe(variant, device="cpu", tiny=tiny)
    train_step = build_step(recipe).train()
    (batch,) = noise(recipe, rows=1, count=1, device="cpu")
    if variant.cached:
        batch = with_features(batch, train_step.system, "cpu")
    return operations(lambda: train_step(batch, batch.targets))
