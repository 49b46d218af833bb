"""What another distribution's part learns has to be in its state: checkpoints and bundles keep nothing else."""

import sys

import pytest
from small_system import write_recipe
from throwaway import good, install

from toolkit.errors import FailedPlugin
from toolkit.plugins.registry import default_registry
from toolkit.training.preparation import load_source, prepare
from toolkit.training.run import Run

PARTS = """
from threading import Lock
import torch
from toolkit.contracts import Seq
from toolkit_plugins.extractors.mfcc import Mfcc
from toolkit_plugins.fusions.concat import Concat
from toolkit_plugins.heads.linear import Linear

class Level(Mfcc):
    fits = True
    def __init__(self, *, keeps: str, lock: bool = False):
        super().__init__(n_mfcc=4, n_fft=512, n_mels=8, hidden=4, layers=1, normalize="none")
        self.keeps, self.mean = keeps, torch.zeros(4)
        self.lock = lock and Lock()  # which cannot be copied
        if keeps == "buffer":
            self.register_buffer("mu", torch.zeros(4))
        if keeps == "shape":
            self.register_buffer("mu", torch.zeros(1))
        self.fits = True
    def fit(self, features):
        found = torch.cat([seq.values[seq.mask] for seq in features]).mean(0)
        if self.keeps == "attribute":
            self.mean = found
        else:
            self.register_buffer("mu", found)
    def encode(self, features):
        mean = getattr(self, "mu", self.mean)
        return super().encode(Seq(features.zeroed().values - mean, features.lengths))

class Fuse(Concat):
    fits = True
    def __init__(self, *, levels, segment_samples):
        super().__init__(levels=levels, covariates={}, segment_samples=segment_samples, dim=4)
        self.fits, self.shift = True, 0.0
    def fit(self, levels):
        self.shift = float(sum(seq.values.mean() for batch in levels for seq in batch.values()))
    def forward(self, levels, covariates):
        return {name: value + self.shift for name, value in super().forward(levels, covariates).items()}

class Top(Linear):
    fits = True
    def fit(self, rows):
        self.prior = torch.cat([classes for _, classes, _ in rows]).float().mean() + 1
    def forward(self, embedding):
        return super().forward(embedding) + getattr(self, "prior", 0.0)
"""


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Train the small system with some of its parts from another distribution."""
    folder = tmp_path_factory.mktemp("fitted")
    for kind, name in (("extractor", "Level"), ("fusion", "Fuse"), ("head", "Top")):
        source = good(kind, name.lower(), f"fitted_parts:{name}")
        install(folder / "site", f"my-{name.lower()}", source, files={"fitted_parts.py": PARTS})
    recipe = write_recipe(folder)

    def run(*overrides):
        source = load_source(recipe, ["--training.epochs=1", *overrides])
        return Run(prepare(source), say=lambda line: None).train()

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder / "site")
        default_registry.cache_clear()
        yield run
    default_registry.cache_clear()
    sys.modules.pop("fitted_parts", None)


LOST = "what `fit` learned is not in the state, and a bundle would lose it: keep it in buffers."


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--model.levels.mfcc.plugin=level", "--model.levels.mfcc.args={keeps: attribute}"], LOST),
        (["--model.fusion.plugin=fuse"], LOST),
        (["--model.heads.emotion.plugin=top"], LOST),
        (
            ["--model.levels.mfcc.plugin=level", "--model.levels.mfcc.args={keeps: new}"],
            "`fit` changed names or shapes of the state: register all of it in the constructor.",
        ),
        (
            ["--model.levels.mfcc.plugin=level", "--model.levels.mfcc.args={keeps: shape}"],
            "`fit` changed names or shapes of the state: register all of it in the constructor.",
        ),
    ],
    ids=["level", "fusion", "head", "a new buffer", "a buffer of another shape"],
)
def test_what_a_checkpoint_would_lose_is_found_right_after_the_fit(overrides, message, train):
    with pytest.raises(FailedPlugin) as error:
        train(*overrides)
    assert f" 1.0: {message} " in str(error.value) and "`toolkit check-plugin" in str(error.value)


@pytest.mark.parametrize(
    "args", ["{keeps: buffer}", "{keeps: attribute, lock: true}"], ids=["buffer", "cannot be copied"]
)
def test_other_parts_train(args, train):
    assert train("--model.levels.mfcc.plugin=level", f"--model.levels.mfcc.args={args}").is_file()
