"""The contract suite finds what it looks for: for each property a plugin that is broken in this one way."""

from functools import partial
from pathlib import Path

import pytest
import torch
from broken_augmentations import AUGMENTATIONS, GoodAugmentation
from broken_corpora import CORPORA, GoodCorpus
from broken_extractors import (
    EXTRACTORS,
    DetachedParameter,
    GoodExtractor,
    RandomFrontEnd,
    ReadsWholeFeatures,
    ReadsWholeWave,
)
from broken_fusions import FUSIONS, GoodFusion, IgnoresCovariates
from broken_heads import HEADS, GoodHead
from broken_losses import LOSSES, GoodLoss, KeepsSkippedRows

from toolkit.contracts import LevelShape
from toolkit.errors import PluginError
from toolkit.testing import Finding, Violation, assert_contract, case_class, check_plugin
from toolkit.testing.tensors import require_equal


def broken(kind, make, **options):
    return {finding.property for finding in check_plugin(kind, make, **options) if not finding.holds}


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
    assert [str(finding) for finding in findings if not finding.holds] == []
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
    assert not found[name].holds
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
    expected = Finding("batch_equals_alone", False, "KeyError: 'lost'", found["batch_equals_alone"].asks)
    assert found["batch_equals_alone"] == expected


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


@pytest.mark.parametrize(("found", "error"), [(4.5, "relative error 0.12"), (float("nan"), "relative error inf")])
def test_nan_is_never_equal(found, error):
    require_equal(torch.tensor([1.0, 4.0]), torch.tensor([1.0, 4.0]), 0, "two")
    with pytest.raises(Violation, match=error):
        require_equal(torch.tensor([1.0, found]), torch.tensor([1.0, 4.0]), 0.1, "two")


def test_a_missing_data_folder_is_not_asked_of_a_corpus_without_one():
    class Fixed(GoodCorpus):
        def read(self, folder):
            return super().read(Path())

    assert broken("corpus", lambda: Fixed()) == set()
