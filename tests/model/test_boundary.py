"""What plugins return and declare is checked on entry to the core: one line names method, rule and value."""

import numpy as np
import pytest
import torch
from broken_extractors import GoodExtractor
from broken_fusions import GoodFusion
from broken_heads import GoodHead

from toolkit import PluginSpec
from toolkit.contracts import LevelShape, Loss, ModelOutput, Seq
from toolkit.errors import FailedPlugin
from toolkit.model.boundary import checked, declared
from toolkit.model.system import System
from toolkit.plugins.declarations import Declaration
from toolkit.plugins.plugin import BUILT_BY, Plugin
from toolkit.training.loop.objective import Objective, Term

WAVE = Seq(torch.randn(2, 1600), torch.tensor([1600, 800]))
FRAMES = torch.randn(2, 10, 3)
LENGTHS = torch.tensor([10, 5])


def system(*, features=None, encode=None, fuse=None, head=None) -> System:
    """A good system in which the method of each argument returns the given value instead."""
    level, fusion = GoodExtractor(), GoodFusion(levels={"a": LevelShape(3, 10)}, covariates={})
    parts = {"features": (level, features), "encode": (level, encode), "forward": (fusion, fuse)}
    for name, (part, value) in parts.items():
        if value is not None:
            setattr(part, name, lambda *arguments, value=value: value())
    top = GoodHead(size=8, classes=2)
    if head is not None:
        top.forward = lambda embedding: head()
    return System(
        {"a": level}, fusion, {"h": top}, classes={"h": 2}, head_inputs={"h": ["fused"]}, given_covariates={},
        predicted_covariates={},
    )  # fmt: skip


COUNTED = " with lengths of torch.int64"
WRONG = {
    "None": (lambda: None, "None"),
    "NumPy": (lambda: FRAMES.numpy(), "a ndarray [2, 10, 3] of float32"),
    "float64": (lambda: Seq(FRAMES.double(), LENGTHS), f"a Seq [2, 10, 3] of torch.float64{COUNTED}"),
    "another batch": (lambda: Seq(FRAMES[:1], LENGTHS[:1]), f"a Seq [1, 10, 3] of torch.float32{COUNTED}"),
    "int32": (lambda: Seq(FRAMES, LENGTHS.int()), "a Seq [2, 10, 3] of torch.float32 with lengths of torch.int32"),
}


@pytest.mark.parametrize("method", ["features", "encode"])
@pytest.mark.parametrize("wrong", WRONG)
def test_what_an_extractor_returns_is_named(method, wrong):
    value, found = WRONG[wrong]
    with pytest.raises(FailedPlugin) as caught:
        system(**{method: value})(WAVE, {})
    assert str(caught.value).startswith(f"GoodExtractor: `{method}` must give ")
    assert str(caught.value).endswith(f", and gave {found}.")


@pytest.mark.parametrize(
    ("where", "value", "line"),
    [
        ("fuse", lambda: None, "GoodFusion: `forward` must give a dict of fused, a, and gave None."),
        ("fuse", lambda: {"fused": torch.ones(2, 8)}, "GoodFusion: `forward` must give 'a' as a floating-point tensor "
         "of shape [2, 8], and gave None."),
        ("head", lambda: torch.ones(2, 3), "GoodHead: `forward` must give a floating-point tensor of shape [2, 2], "
         "and gave a Tensor [2, 3] of torch.float32."),
        ("head", lambda: np.ones((2, 2)), "GoodHead: `forward` must give a floating-point tensor of shape [2, 2], "
         "and gave a ndarray [2, 2] of float64."),
    ],
)  # fmt: skip
def test_what_a_fusion_or_a_head_returns_is_named(where, value, line):
    with pytest.raises(FailedPlugin) as caught:
        system(**{where: value})(WAVE, {})
    assert str(caught.value) == line


def test_a_good_system_passes_and_garbage_beyond_a_length_is_allowed():
    system()(WAVE, {})
    dirty = FRAMES.clone()
    dirty[1, 5:] = float("nan")
    system(encode=lambda: Seq(dirty, LENGTHS), fuse=lambda: {"fused": torch.ones(2, 8), "a": torch.ones(2, 8)})(
        WAVE, {}
    )


def test_a_loss_is_one_finite_number():
    class Odd(Loss):
        def forward(self, inputs, targets):
            return self.value

    loss = Odd()
    objective = Objective({"x": Term(loss, "h", "logits", "label", 1.0)})
    output = ModelOutput({}, {"h": torch.ones(2, 2)})
    for value, found in ((torch.ones(2), "a Tensor [2] of torch.float32"), (0.5, "a float: 0.5")):
        loss.value = value
        with pytest.raises(FailedPlugin, match="`forward` must give a floating-point tensor of shape") as caught:
            objective(output, {"label": torch.tensor([0, 1])})
        assert str(caught.value).endswith(f"and gave {found}.")


def test_attributes_are_named():
    line = r"^GoodExtractor: `frame_count` must give a whole number above 0, and gave a float: 10\.0\.$"
    with pytest.raises(FailedPlugin, match=line):
        declared(GoodExtractor(), "frame_count", 10.0)


def test_finite_values_and_lengths_are_asked_for_once_since_that_waits_for_the_device():
    level, nan = GoodExtractor(), Seq(FRAMES * float("nan"), LENGTHS)
    assert checked(level, "encode", nan, (2, None, 3)) is nan  # our own: its input may have been NaN
    declared = Declaration("moody", "1.0", "plugins", "moody")
    vars(level)[BUILT_BY] = Plugin(PluginSpec("extractor", "odd", "moody:Odd", "Odd"), declared)
    line = (
        "^extractor 'odd' from moody 1.0: `encode` must give finite values, and gave NaN or infinity. `toolkit check-p"
    )
    with pytest.raises(FailedPlugin, match=line):
        checked(level, "encode", nan, (2, None, 3))
    assert checked(level, "encode", nan, (2, None, 3)) is nan
    assert checked(level, "other", torch.ones(2), (None,)).shape == (2,)
    with pytest.raises(FailedPlugin, match="`features` must give lengths within its frames, and gave 11 of 10 frames"):
        checked(level, "features", Seq(FRAMES, LENGTHS + 1), (2, None, None))
