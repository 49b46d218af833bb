"""The contract suite finds what it looks for: for each property a plugin that is broken in this one way."""

from functools import partial
from pathlib import Path

import pytest
import torch
from broken_augmentations import AUGMENTATIONS, DividesBySilence, GoodAugmentation
from broken_corpora import CORPORA, GoodCorpus
from broken_extractors import (
    EXTRACTORS,
    AveragesBatch,
    DetachedParameter,
    EncodesToTensor,
    GoodExtractor,
    NanFeatures,
    RandomFeatures,
    RandomFrontEnd,
    ReadsWholeFeatures,
    ReadsWholeWave,
    ScaleIsNoState,
)
from broken_fusions import FUSIONS, GoodFusion, IgnoresCovariates
from broken_heads import HEADS, GoodHead
from broken_losses import LOSSES, GoodLoss, KeepsSkippedRows, WeightedMean
from torch.nn import functional

from toolkit.contracts import LevelShape, Seq
from toolkit.errors import PluginError
from toolkit.testing import Finding, Violation, assert_contract, case_class, check_plugin
from toolkit.testing.modules import require_equal


def broken(kind, make, **options):
    return {finding.property for finding in check_plugin(kind, make, **options) if finding.holds is False}


KINDS = {
    "extractor": (GoodExtractor, EXTRACTORS),
    "fusion": (GoodFusion, FUSIONS),
    "head": (GoodHead, HEADS),
    "loss": (GoodLoss, LOSSES),
    "augmentation": (GoodAugmentation, AUGMENTATIONS),
    "corpus": (GoodCorpus, CORPORA),
}


def options_for(kind, tmp_path):
    return {"folder": tmp_path} if kind == "corpus" else {}


@pytest.mark.parametrize("kind", KINDS)
def test_a_good_plugin_has_every_property(kind, tmp_path):
    good = KINDS[kind][0]
    findings = check_plugin(kind, good, **options_for(kind, tmp_path))
    assert [str(finding) for finding in findings if not finding.holds] == []  # also none that was not tried
    assert [f.property for f in findings] == [each.__name__ for each in case_class(kind).properties()]


@pytest.mark.parametrize(
    ("kind", "name", "make"),
    [
        pytest.param(kind, name, make, id=f"{kind}-{name}-{make.__name__}")
        for kind, (_, cases) in KINDS.items()
        for name, makes in cases.items()
        for make in makes
    ],
)
def test_a_broken_plugin_is_found(kind, name, make, tmp_path):
    found = {f.property: f for f in check_plugin(kind, make, **options_for(kind, tmp_path))}
    assert found[name].holds is False
    assert found[name].detail


@pytest.mark.parametrize("kind", KINDS)
def test_every_property_has_a_plugin_that_breaks_it(kind):
    tested_below = {"import_is_light"}
    assert {each.__name__ for each in case_class(kind).properties()} - tested_below == set(KINDS[kind][1])


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
    assert broken("fusion", IgnoresCovariates) == {"every_input_changes_fused"}
    assert broken("loss", KeepsSkippedRows) == {"only_steps_leave_a_trace"}


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


class Raises(GoodHead):
    def forward(self, embedding):
        raise KeyError("lost")


def test_a_plugin_that_raises_is_a_finding_with_the_line_of_its_code_and_no_error():
    name, line = "logits_have_the_declared_shape", Raises.forward.__code__.co_firstlineno + 1
    found = {f.property: f for f in check_plugin("head", Raises)}
    assert found[name] == Finding(name, False, f"KeyError: 'lost' ({__file__}, line {line})", found[name].asks)
    assert isinstance(found[name].error, KeyError)


@pytest.mark.parametrize(
    ("make", "name", "detail"),
    [
        (NanFeatures, "shapes_are_as_declared", "16000 samples alone: values of features are not finite"),
        (EncodesToTensor, "shapes_are_as_declared", "EncodesToTensor: `encode` must give a floating-point Seq, with "),
        (RandomFeatures, "evaluation_is_deterministic", "'features' of a second pass in eval() mode: relative error "),
    ],
)
def test_where_a_basic_property_does_not_hold_the_others_accuse_nobody(make, name, detail):
    findings = check_plugin("extractor", make)
    (found,) = [finding for finding in findings if finding.holds is False]
    assert found.property == name and found.detail.startswith(detail)
    after = findings[findings.index(found) + 1 :]
    assert {(f.holds, f.detail) for f in after} == {(None, f"not tried, since {name} does not hold")}
    with pytest.raises(AssertionError, match=rf"\n{len(after)} more were not tried\.$"):
        assert_contract("extractor", make)


def test_the_detail_shows_the_frames_that_differ():
    class Smooths(GoodExtractor):
        def encode(self, features):
            values = self.output(features.zeroed().values * self.scale)
            return Seq(values + functional.pad(values, (0, 0, 0, 1))[:, 1:], features.lengths)

    found = {f.property: f for f in check_plugin("extractor", Smooths)}["batch_equals_alone"]
    assert "output of row 1 of a batch" in found.detail and found.detail.endswith(", in frames 61 to 61 of 62")
    found = {f.property: f for f in check_plugin("extractor", AveragesBatch)}["batch_equals_alone"]
    assert "output of row 0 of a batch" in found.detail and found.detail.endswith(", in frames 0 to 99 of 100")


def test_a_tensor_that_is_no_state_is_named():
    found = {f.property: f for f in check_plugin("extractor", ScaleIsNoState)}["state_survives_safetensors"]
    assert found.detail.startswith("`scale` is a tensor that is neither a parameter nor a buffer: use register_buffer")


def test_a_weighted_loss_is_told_what_its_denominator_returns():
    found = {f.property: f for f in check_plugin("loss", WeightedMean)}["denominator_joins_parts"]
    assert "(return the sum of the rows' weights from `denominator`)" in found.detail


def test_silence_is_called_by_its_name():
    found = {f.property: f for f in check_plugin("augmentation", DividesBySilence)}["results_fit"]
    assert found.detail == "not finite, given [1000] of silence"


def test_a_corpus_that_finds_nothing_in_a_folder_that_is_not_there(tmp_path):
    class Careless(GoodCorpus):
        def read(self, folder):
            return super().read(folder) if folder.is_dir() else []

    found = {f.property: f for f in check_plugin("corpus", Careless, folder=tmp_path)}["missing_folder_is_one_line"]
    assert found.detail.endswith("/not-there) gives []; a ToolkitError is needed that names it in one line")


def test_the_detail_shows_the_input():
    found = {f.property: f for f in check_plugin("extractor", ReadsWholeFeatures)}
    detail = found["garbage_changes_nothing"].detail
    assert detail.startswith("nan beyond lengths [100, 62, 25, 2, 1] of the features changes encode's output")
    assert "[16000, 10007, 4000, 399, 1]" in found["batch_equals_alone"].detail


def test_assert_contract_lists_all_that_fails():
    with pytest.raises(AssertionError) as caught:
        assert_contract("extractor", ReadsWholeWave)
    text = str(caught.value)
    assert text.startswith("This extractor breaks its contract:\n- ")
    for name in (
        "garbage_changes_nothing",
        "batch_equals_alone",
        "silence_is_finite",
        "gradients_reach_what_is_trained",
    ):
        assert f"\n- {name}: " in text


def test_arguments_of_a_recipe_are_passed_on():
    assert_contract("extractor", GoodExtractor, {"hop": 80})
    assert_contract("extractor", partial(GoodExtractor, hop=80))
    assert_contract("head", lambda size, classes: GoodHead(size=size, classes=classes))


def test_an_unknown_kind_is_refused():
    with pytest.raises(PluginError, match=r"No kind of plugin is called 'extractors'\. Did you mean 'extractor'\?"):
        check_plugin("extractors", GoodExtractor)


def test_the_random_state_is_put_back():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    check_plugin("head", GoodHead)
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize(
    ("found", "expected", "error"),
    [
        (4.5, 4.0, "two: relative error 0.12"),
        (float("nan"), 4.0, "two: relative error inf"),
        (float("nan"), float("nan"), "two: not finite"),
    ],
)
def test_nan_is_never_equal(found, expected, error):
    require_equal(torch.tensor([1.0, 4.0]), torch.tensor([1.0, 4.0]), 0, "two")
    with pytest.raises(Violation, match=error):
        require_equal(torch.tensor([1.0, found]), torch.tensor([1.0, expected]), 0.1, "two")


def test_a_missing_data_folder_is_not_asked_of_a_corpus_without_one():
    class Fixed(GoodCorpus):
        def read(self, folder):
            return super().read(Path())

    assert broken("corpus", lambda: Fixed()) == set()
