"""The contract suite finds what it looks for: for each property a plugin that is broken in this one way."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from toolkit import testing
from toolkit.contracts import Extractor, Fusion, Head, LevelShape, Loss, Seq
from toolkit.corpus import Corpus, Utterance
from toolkit.errors import CorpusError
from toolkit.testing import Finding, assert_contract, check_plugin
from toolkit.testing.modules import relative_error


def broken(kind, make, **options):
    return {finding.property for finding in check_plugin(kind, make, **options) if not finding.holds}


class GoodExtractor(Extractor):
    """Mean and mean magnitude of 160 samples, through something frozen, something scaled and a linear layer.

    Args:
        hop: samples of a frame.
    """

    channels = 3
    fits = True

    def __init__(self, *, hop: int = 160, sample_rate: int = 16_000):
        super().__init__()
        self.hop = hop
        self.front_end_args = {"front_end": "good", "hop": hop, "sample_rate": sample_rate}
        self.register_buffer("scale", torch.ones(2))
        self.frozen = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Dropout(0.5)).requires_grad_(False)
        nn.init.eye_(self.frozen[0].weight)
        self.output = nn.Linear(2, 3)
        self.train()

    def train(self, mode=True):
        super().train(mode)
        self.frozen.eval()
        return self

    def frame_count(self, samples):
        return max(1, samples // self.hop)

    @torch.no_grad()
    def features(self, wave):
        values = wave.zeroed().values
        values = functional.pad(values, (0, max(0, self.hop - values.shape[1])))
        frames = values.unfold(1, self.hop, self.hop)  # [batch, frames, hop]
        values = torch.stack([frames.mean(2), frames.abs().mean(2)], dim=2)
        return Seq(self.frozen(values), (wave.lengths // self.hop).clamp(min=1))

    def fit(self, features):
        self.scale.copy_(1 / torch.stack([seq.values.std(dim=(0, 1)) for seq in features]).mean(0))

    def encode(self, features):
        return Seq(self.output(features.zeroed().values * self.scale), features.lengths)


class PositionalArgument(GoodExtractor):
    def __init__(self, hop: int = 160):
        super().__init__(hop=hop)


class UnexplainedArgument(GoodExtractor):
    def __init__(self, *, width: int = 3, **context):
        super().__init__(**context)


class WrongChannels(GoodExtractor):
    channels = 4


class FloatChannels(GoodExtractor):
    channels = 3.0


class RoundsUp(GoodExtractor):
    def frame_count(self, samples):
        return max(1, -(-samples // self.hop))


class OwnForward(GoodExtractor):
    def forward(self, wave):
        output = super().forward(wave)
        return Seq(output.values + 1, output.lengths)


class ReadsWholeWave(GoodExtractor):
    """Its top is the batch's, as torchaudio's top_db is."""

    def features(self, wave):
        features = super().features(wave)
        return Seq(features.values / wave.values.abs().max(), features.lengths)  # silence: 0 / 0


class AveragesBatch(GoodExtractor):
    def encode(self, features):
        output = super().encode(features)
        return Seq(output.values - output.values.mean(0, keepdim=True), output.lengths)


class ReadsWholeFeatures(GoodExtractor):
    def encode(self, features):
        output = super().encode(features)
        return Seq(output.values + features.values.mean((1, 2), keepdim=True), output.lengths)


class SeesTimeAxis(GoodExtractor):
    """A row comes out as alone, but not when cached features meet a longer batch."""

    def encode(self, features):
        output = super().encode(features.zeroed())
        return Seq(output.values + (features.values.shape[1] == 103), output.lengths)


class NoisyFeatures(GoodExtractor):
    def features(self, wave):
        features = super().features(wave)
        noise = torch.randn_like(features.values) if self.training else 0.0
        return Seq(features.values + noise, features.lengths)


class LearnsInFeatures(GoodExtractor):
    def features(self, wave):
        features = super().features(wave)
        return Seq(features.values * self.output.weight[0].detach(), features.lengths)


class DetachedParameter(GoodExtractor):
    def __init__(self, **args):
        super().__init__(**args)
        self.gain = nn.Parameter(torch.ones(3))

    def encode(self, features):
        output = super().encode(features)
        return Seq(output.values * self.gain.detach(), output.lengths)


class NanGradients(GoodExtractor):
    """NaN beyond the lengths is hidden from the output, and not from the gradients."""

    def encode(self, features):
        values = self.output(features.values * self.scale)
        return Seq(torch.where(features.mask[:, :, None], values, 0.0), features.lengths)


class ForgetsEval(GoodExtractor):
    def train(self, mode=True):
        return nn.Module.train(self, mode)


class AllFrozenWithDropout(GoodExtractor):
    def __init__(self, **args):
        super().__init__(**args)
        self.output.requires_grad_(False)

    def encode(self, features):
        output = super().encode(features)
        return Seq(functional.dropout(output.values, 0.5, self.training), output.lengths)


class ScaleIsNoState(GoodExtractor):
    def __init__(self, **args):
        super().__init__(**args)
        del self.scale
        self.scale = torch.ones(2)


class TensorInArgs(GoodExtractor):
    def __init__(self, **args):
        super().__init__(**args)
        self.front_end_args = {"window": torch.ones(2)}


class RandomFrontEnd(GoodExtractor):
    """Its features depend on random weights that front_end_args does not tell."""

    def __init__(self, **args):
        super().__init__(**args)
        nn.init.normal_(self.frozen[0].weight)


class LogOfSilence(GoodExtractor):
    def features(self, wave):
        features = super().features(wave)
        return Seq(features.values.abs().log(), features.lengths)


class WritesIntoWave(GoodExtractor):
    def features(self, wave):
        wave.values.mul_(0.5).mul_(2.0).add_(1e-3).sub_(1e-3)
        wave.values[:, 0] = 0.0
        return super().features(wave)


class Float32Only(GoodExtractor):
    def encode(self, features):
        return Seq(super().encode(features).values @ torch.eye(3), features.lengths)

    def forward(self, wave):
        output = super().forward(wave)
        return Seq(output.values.sqrt() if output.values.dtype == torch.bfloat16 else output.values, output.lengths)


EXTRACTORS = {
    "arguments_are_documented": [PositionalArgument, UnexplainedArgument],
    "attributes_are_as_declared": [FloatChannels],
    "shapes_are_as_declared": [WrongChannels, RoundsUp],
    "forward_is_encode_of_features": [OwnForward],
    "garbage_changes_nothing": [ReadsWholeWave, ReadsWholeFeatures],
    "batch_equals_alone": [ReadsWholeWave, AveragesBatch, ReadsWholeFeatures],
    "features_can_be_padded_anew": [SeesTimeAxis],
    "features_are_deterministic": [NoisyFeatures],
    "features_learn_nothing": [LearnsInFeatures],
    "gradients_reach_what_is_trained": [DetachedParameter, NanGradients],
    "frozen_is_deterministic_in_training": [ForgetsEval, AllFrozenWithDropout],
    "state_survives_safetensors": [ScaleIsNoState],
    "front_end_args_identify_features": [TensorInArgs, RandomFrontEnd],
    "silence_is_finite": [LogOfSilence],
    "input_is_left_alone": [WritesIntoWave],
    "runs_in_bfloat16": [Float32Only],
}


class GoodFusion(Fusion):
    """Masked mean of each level, projected; all of them and the covariates, projected.

    Args:
        dim: size of every embedding.
    """

    def __init__(self, *, levels, covariates, dim: int = 8):
        super().__init__()
        self.sizes = {"fused": dim, **dict.fromkeys(levels, dim)}
        self.project = nn.ModuleDict({name: nn.Linear(shape.channels, dim) for name, shape in levels.items()})
        self.fuse = nn.Linear(dim * len(levels) + sum(covariates.values()), dim)

    def pool(self, seq):
        return seq.zeroed().values.sum(1) / seq.lengths[:, None]

    def forward(self, levels, covariates):
        each = {name: project(self.pool(levels[name])) for name, project in self.project.items()}
        return {"fused": self.fuse(torch.cat([*each.values(), *covariates.values()], dim=1)), **each}


class PositionalFusion(GoodFusion):
    def __init__(self, levels, covariates):
        super().__init__(levels=levels, covariates=covariates)


class LacksLevel(GoodFusion):
    def forward(self, levels, covariates):
        return {"fused": super().forward(levels, covariates)["fused"]}


class PlainMean(GoodFusion):
    def pool(self, seq):
        return seq.values.mean(1)


class LengthOfBatch(GoodFusion):
    def pool(self, seq):
        return seq.zeroed().values.sum(1) / seq.lengths.max()


class FirstRowMatters(GoodFusion):
    def forward(self, levels, covariates):
        return {name: value - value[:1].detach() for name, value in super().forward(levels, covariates).items()}


class IgnoresCovariates(GoodFusion):
    def forward(self, levels, covariates):
        return super().forward(levels, {name: torch.zeros_like(value) for name, value in covariates.items()})


class IgnoresLevel(GoodFusion):
    def forward(self, levels, covariates):
        first, *_ = levels
        zero = Seq(0 * levels[first].zeroed().values, levels[first].lengths)
        return super().forward({**levels, first: zero}, covariates)


class DetachedFusion(GoodFusion):
    def forward(self, levels, covariates):
        return super().forward({n: Seq(s.values.detach(), s.lengths) for n, s in levels.items()}, covariates)


class RootOfZero(GoodFusion):
    def pool(self, seq):
        return (seq.zeroed().values.square().sum(1) / seq.lengths[:, None]).sqrt()


class RandomFusion(GoodFusion):
    def pool(self, seq):
        return super().pool(seq) + torch.rand(())


class HiddenState(GoodFusion):
    def __init__(self, **args):
        super().__init__(**args)
        self.shift = torch.randn(())

    def pool(self, seq):
        return super().pool(seq) + self.shift


class WritesIntoLevels(GoodFusion):
    def pool(self, seq):
        with torch.no_grad():
            seq.values[:, 0] = 0.0
        return super().pool(seq)


class OverflowsInBfloat16(GoodFusion):
    def pool(self, seq):
        pooled = super().pool(seq)
        return pooled / 0 if seq.values.dtype == torch.bfloat16 else pooled


FUSIONS = {
    "arguments_are_documented": [PositionalFusion],
    "sizes_are_as_declared": [LacksLevel],
    "garbage_changes_nothing": [PlainMean],
    "batch_equals_alone": [PlainMean, LengthOfBatch, FirstRowMatters],
    "permuted_rows_give_permuted_embeddings": [FirstRowMatters],
    "covariates_change_fused": [IgnoresCovariates],
    "every_level_changes_fused": [IgnoresLevel],
    "gradients_reach_what_is_trained": [DetachedFusion],
    "constant_frames_are_finite": [RootOfZero],
    "frozen_is_deterministic_in_training": [RandomFusion],
    "state_survives_safetensors": [HiddenState],
    "input_is_left_alone": [WritesIntoLevels],
    "runs_in_bfloat16": [OverflowsInBfloat16],
}


class GoodHead(Head):
    """A linear layer.

    Args:
        bias: whether it has one.
    """

    def __init__(self, *, size: int, classes: int, bias: bool = True):
        super().__init__()
        self.output = nn.Linear(size, classes, bias=bias)

    def forward(self, embedding):
        return self.output(embedding)


class PositionalHead(GoodHead):
    def __init__(self, size, classes):
        super().__init__(size=size, classes=classes)


class OneClassTooMany(GoodHead):
    def __init__(self, *, size, classes):
        super().__init__(size=size, classes=classes + 1)


class NormOverBatch(GoodHead):
    def forward(self, embedding):
        return self.output(embedding - embedding.mean(0))


class UnusedLayer(GoodHead):
    def __init__(self, **args):
        super().__init__(**args)
        self.unused = nn.Linear(2, 2)


class FrozenDropout(GoodHead):
    def __init__(self, *, size, classes):
        super().__init__(size=size, classes=classes)
        self.frozen = nn.Sequential(nn.Linear(size, size), nn.Dropout(0.5)).requires_grad_(False)

    def forward(self, embedding):
        return self.output(self.frozen(embedding))


class HeadWithHiddenState(GoodHead):
    def __init__(self, **args):
        super().__init__(**args)
        self.shift = torch.randn(())

    def forward(self, embedding):
        return self.output(embedding) + self.shift


class WritesIntoEmbedding(GoodHead):
    def forward(self, embedding):
        with torch.no_grad():
            embedding[:, 0] = 0.0
        return self.output(embedding)


HEADS = {
    "arguments_are_documented": [PositionalHead],
    "logits_have_the_declared_shape": [OneClassTooMany],
    "batch_equals_alone": [NormOverBatch],
    "gradients_reach_what_is_trained": [UnusedLayer],
    "frozen_is_deterministic_in_training": [FrozenDropout],
    "state_survives_safetensors": [HeadWithHiddenState],
    "input_is_left_alone": [WritesIntoEmbedding],
}


class GoodLoss(Loss):
    """Half the squared distance to a centre that follows the mean of what the last step saw.

    Args:
        rate: how far it follows.
    """

    reads = "embedding"

    def __init__(self, *, size: int, class_counts, rate: float = 0.5):
        super().__init__()
        self.rate = rate
        self.register_buffer("centre", torch.zeros(size))
        self.seen = None

    def forward(self, inputs, targets):
        if self.training:
            self.seen = inputs.detach().mean(0)
        return (inputs - self.centre).square().sum(1).mean() / 2

    def after_step(self, taken):
        if bool(taken) and self.seen is not None:
            self.centre += self.rate * (self.seen - self.centre)
        self.seen = None


class PositionalLoss(GoodLoss):
    def __init__(self, size, class_counts):
        super().__init__(size=size, class_counts=class_counts)


class ReadsNothing(GoodLoss):
    reads = "frames"


class ReadsLater(GoodLoss):
    def __init__(self, *, size: int, class_counts):
        super().__init__(size=size, class_counts=class_counts)
        self.reads = "logits"


class RowLosses(GoodLoss):
    def forward(self, inputs, targets):
        return (inputs - self.centre).square().sum(1)


class DividesByCount(GoodLoss):
    def __init__(self, *, size: int, class_counts):
        super().__init__(size=size, class_counts=class_counts)
        self.weights = 1 / torch.tensor(class_counts)

    def forward(self, inputs, targets):
        return super().forward(inputs, targets) * self.weights.mean()


class DetachedLoss(GoodLoss):
    def forward(self, inputs, targets):
        return super().forward(inputs.detach(), targets).requires_grad_()


class Sums(GoodLoss):
    def forward(self, inputs, targets):
        return super().forward(inputs, targets) * len(targets)


class MovesInAnyCase(GoodLoss):
    def after_step(self, taken):
        super().after_step(torch.tensor(True))


class MultipliesByTaken(GoodLoss):
    """0 * NaN is NaN."""

    def after_step(self, taken):
        if self.seen is not None:
            self.centre += taken * self.rate * (self.seen - self.centre)
        self.seen = None


class KeepsSkippedRows(GoodLoss):
    def forward(self, inputs, targets):
        before = self.seen
        value = super().forward(inputs, targets)
        if self.training and before is not None:
            self.seen = self.seen + before
        return value

    def after_step(self, taken):
        if bool(taken):
            super().after_step(taken)


class LearnsInEvaluation(GoodLoss):
    def forward(self, inputs, targets):
        self.seen = inputs.detach().mean(0) + (0 if self.seen is None else self.seen)
        return (inputs - self.centre).square().sum(1).mean() / 2


class CentreIsNoState(GoodLoss):
    def __init__(self, *, size: int, class_counts):
        super().__init__(size=size, class_counts=class_counts)
        del self.centre
        self.centre = torch.zeros(size)


class WritesIntoInputs(GoodLoss):
    def forward(self, inputs, targets):
        with torch.no_grad():
            inputs[0] = 0.0
        return super().forward(inputs, targets)


LOSSES = {
    "arguments_are_documented": [PositionalLoss],
    "attributes_are_as_declared": [ReadsNothing, ReadsLater],
    "value_is_a_finite_scalar": [RowLosses, DividesByCount],
    "gradients_reach_what_is_trained": [DetachedLoss],
    "value_is_the_mean_over_rows": [Sums],
    "skipped_step_leaves_no_trace": [MovesInAnyCase, MultipliesByTaken, KeepsSkippedRows],
    "evaluation_leaves_no_trace": [LearnsInEvaluation],
    "state_survives_safetensors": [CentreIsNoState],
    "input_is_left_alone": [WritesIntoInputs],
}


class GoodCorpus(Corpus):
    """Two utterances.

    Args:
        label: of both.
    """

    def __init__(self, *, label: str = "ang"):
        self.label = label

    def read(self, folder):
        if not folder.is_dir():
            raise CorpusError(f"{folder} is no folder")
        return [Utterance(id=name, path=folder / f"{name}.wav", label=self.label) for name in ("a", "b")]


class PositionalCorpus(GoodCorpus):
    def __init__(self, label: str = "ang"):
        super().__init__(label=label)


PositionalCorpus.__module__ = "__main__"  # where the imports of the module cannot be looked at


class SyntheticPerhaps(GoodCorpus):
    synthetic = None


class Lazy(GoodCorpus):
    def read(self, folder):
        return iter(super().read(folder))


class SameIdTwice(GoodCorpus):
    def read(self, folder):
        return super().read(folder) * 2


class OtherOrder(GoodCorpus):
    flip = False

    def read(self, folder):
        OtherOrder.flip = not OtherOrder.flip
        return super().read(folder)[:: -1 if OtherOrder.flip else 1]


class RaisesKeyError(GoodCorpus):
    def read(self, folder):
        return super().read(folder) if folder.is_dir() else {}[folder]


class SaysNothing(GoodCorpus):
    def read(self, folder):
        return [Utterance(id="a", path=folder / "a.wav", label="ang")]


CORPORA = {
    "arguments_are_documented": [PositionalCorpus],
    "attributes_are_as_declared": [SyntheticPerhaps],
    "read_lists_utterances": [Lazy],
    "ids_are_unique": [SameIdTwice],
    "reads_are_equal": [OtherOrder],
    "missing_folder_is_one_line": [RaisesKeyError, SaysNothing],
}

KINDS = {
    "extractor": (GoodExtractor, EXTRACTORS, testing.EXTRACTOR_PROPERTIES),
    "fusion": (GoodFusion, FUSIONS, testing.FUSION_PROPERTIES),
    "head": (GoodHead, HEADS, testing.HEAD_PROPERTIES),
    "loss": (GoodLoss, LOSSES, testing.LOSS_PROPERTIES),
    "corpus": (GoodCorpus, CORPORA, testing.CORPUS_PROPERTIES),
}


def options_for(kind, tmp_path):
    return {"folder": tmp_path} if kind == "corpus" else {}


def lighter(kind, make):
    """Without the module's name nothing is imported anew: this module does import torch."""
    return (lambda: make()) if kind == "corpus" else make


@pytest.mark.parametrize("kind", KINDS)
def test_a_good_plugin_has_every_property(kind, tmp_path):
    good = KINDS[kind][0]
    findings = check_plugin(kind, lighter(kind, good), **options_for(kind, tmp_path))
    assert [str(finding) for finding in findings if not finding.holds] == []
    assert len(findings) == len(KINDS[kind][2])


@pytest.mark.parametrize(
    ("kind", "name", "make"),
    [
        pytest.param(kind, name, make, id=f"{kind}-{name}-{make.__name__}")
        for kind, (_, cases, _) in KINDS.items()
        for name, makes in cases.items()
        for make in makes
    ],
)
def test_a_broken_plugin_is_found(kind, name, make, tmp_path):
    make = make if name == "arguments_are_documented" else lighter(kind, make)
    found = {f.property: f for f in check_plugin(kind, make, **options_for(kind, tmp_path))}
    assert not found[name].holds
    assert found[name].detail


@pytest.mark.parametrize("kind", KINDS)
def test_every_property_has_a_plugin_that_breaks_it(kind):
    _, cases, properties = KINDS[kind]
    tested_below = {"import_is_light"}
    assert {p.__name__ for p in properties} - tested_below == set(cases)


@pytest.mark.parametrize("kind", KINDS)
def test_every_property_says_what_it_asks_for(kind):
    assert all(p.__doc__ for p in KINDS[kind][2])


def test_a_corpus_whose_module_imports_torch_is_found(tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("")  # found by the probe's subprocess, which is fast then
    (tmp_path / "heavy_corpus.py").write_text("import torch\n")
    (tmp_path / "light_corpus.py").write_text("import json\n")
    monkeypatch.syspath_prepend(tmp_path)
    for module, expected in (("heavy_corpus", {"import_is_light"}), ("light_corpus", set())):
        corpus = type("Elsewhere", (GoodCorpus,), {"__module__": module, "__doc__": GoodCorpus.__doc__})
        assert broken("corpus", corpus, folder=tmp_path) == expected


def test_breaking_one_thing_breaks_nothing_else():
    assert broken("extractor", DetachedParameter) == {"gradients_reach_what_is_trained"}
    assert broken("extractor", RandomFrontEnd) == {"front_end_args_identify_features"}
    assert broken("fusion", IgnoresCovariates) == {"covariates_change_fused"}
    assert broken("loss", KeepsSkippedRows) == {"skipped_step_leaves_no_trace"}


def test_an_extractor_of_one_length_is_tried_at_that_length():
    class Fixed(GoodExtractor):
        fixed_samples = 1600

        def features(self, wave):
            if wave.values.shape[1] != 1600:
                raise ValueError("one length only")
            return super().features(wave)

    assert broken("extractor", Fixed) == set()


def test_a_fusion_of_one_length_keeps_its_time_axis():
    class Flat(GoodFusion):
        fixed_samples = 16_000

        def __init__(self, *, levels, covariates):
            flat = {name: LevelShape(s.channels * s.frames, 1) for name, s in levels.items()}
            super().__init__(levels=flat, covariates=covariates)

        def pool(self, seq):
            return seq.zeroed().values.flatten(1)

    assert broken("fusion", Flat) == set()


def test_a_plugin_that_raises_is_a_finding_and_no_error():
    class Raises(GoodHead):
        def forward(self, embedding):
            raise KeyError("lost")

    found = {f.property: f for f in check_plugin("head", Raises)}
    assert found["batch_equals_alone"] == Finding("batch_equals_alone", False, "KeyError: 'lost'")


def test_the_detail_shows_the_input():
    found = {f.property: f for f in check_plugin("extractor", ReadsWholeFeatures)}
    detail = found["garbage_changes_nothing"].detail
    assert detail.startswith("nan beyond lengths [100, 62, 25, 2, 1]") or "beyond lengths" in detail
    assert "[16000, 10007, 4000, 399, 1]" in found["batch_equals_alone"].detail


def test_assert_contract_lists_all_that_fails():
    with pytest.raises(AssertionError) as caught:
        assert_contract("extractor", ReadsWholeWave)
    text = str(caught.value)
    assert text.startswith("3 properties of this extractor do not hold:\n- ")
    for name in ("garbage_changes_nothing", "batch_equals_alone", "silence_is_finite"):
        assert f"\n- {name}: " in text


def test_arguments_of_a_recipe_are_passed_on():
    assert_contract("extractor", GoodExtractor, {"hop": 80})
    assert_contract("extractor", partial(GoodExtractor, hop=80))
    assert_contract("head", lambda size, classes: GoodHead(size=size, classes=classes))


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind is 'extractors'; it must be one of extractor, fusion, head"):
        check_plugin("extractors", GoodExtractor)


def test_the_random_state_is_put_back():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    check_plugin("head", GoodHead)
    assert torch.equal(torch.rand(2), expected)


def test_relative_error_of_nan_is_infinite():
    assert relative_error(torch.tensor([float("nan")]), torch.tensor([1.0])) == float("inf")


def test_a_missing_data_folder_is_not_asked_of_a_corpus_without_one():
    class Fixed(GoodCorpus):
        def read(self, folder):
            return super().read(Path())

    assert broken("corpus", lambda: Fixed()) == set()
