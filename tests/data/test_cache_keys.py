"""The name of a features folder depends on everything that its features depend on."""

import re
from importlib.metadata import version

import pytest
import torch
from throwaway import good, install

from toolkit.contracts import Extractor
from toolkit.data.front_ends import code_of_levels, named_front_end
from toolkit.data.segments import SegmentSet
from toolkit.errors import FailedPlugin
from toolkit.plugins.registry import default_registry
from toolkit.training.preparation import load_source


class One(Extractor):
    channels = 1
    front_end_args: dict = {"a": 1}  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.frozen = torch.nn.Linear(2, 2).requires_grad_(False)


class Two(One):
    pass


def key(extractor, *, sample_rate=16000, fixed_samples=None, **changed):
    segments = SegmentSet([], {}, {}, sample_rate=sample_rate, segment_samples=1000, fixed_samples=fixed_samples)
    settings = {"code": {"plugins": "1.0"}, "precision": "fp32", "device": "cpu", **changed}
    return named_front_end(extractor, segments=segments, **settings)[0]


def test_everything_that_features_depend_on_changes_the_key():
    torch.manual_seed(0)
    one, again, two = One(), One(), Two()
    again.load_state_dict(one.state_dict())
    two.load_state_dict(one.state_dict())
    assert key(one) == key(again) and key(one, device="cuda:0") == key(one, device="cuda:1")
    changed = [key(two), key(One()), key(one, code={"plugins": "1.1"}), key(one, sample_rate=8000)]
    changed += [key(one, fixed_samples=48000), key(one, precision="fp16"), key(one, device="cuda")]
    again.front_end_args = {"a": 2}
    assert len({key(one), *changed, key(again)}) == 9


@pytest.mark.parametrize("wrong", [None, {"a": torch.zeros(2)}])
def test_front_end_args_that_json_cannot_hold_are_the_plugins_fault(wrong):
    one = One()
    one.front_end_args = wrong
    with pytest.raises(FailedPlugin, match=r"^One: `front_end_args` must be a dict that JSON can hold: TypeError: "):
        key(one)


@pytest.mark.parametrize("library", ["av", "soundfile", "soxr"])
def test_the_libraries_that_decode_and_resample_audio_count(library, monkeypatch):
    one = One()
    before = key(one)
    monkeypatch.setattr("toolkit.data.front_ends.version", lambda name: "0" if name == library else version(name))
    assert key(one) != before


def test_the_code_of_a_level_is_the_toolkits_and_its_distributions(recipe):
    (code,) = code_of_levels(load_source(recipe).recipe).values()
    assert list(code) == ["audio-classification-toolkit"]


def test_all_arguments_of_another_distributions_extractor_count(tmp_path, monkeypatch, recipe):
    """Its front_end_args may lack one; then features of another value would be taken for these."""
    install(tmp_path / "installed", "my-levels", good("extractor", "magnitude", "broken_extractors:GoodExtractor"))
    monkeypatch.syspath_prepend(tmp_path / "installed")
    default_registry.cache_clear()
    keys = []
    for hop in (80, 160):
        text = re.sub(
            r"mfcc: \{plugin: mfcc.*", f"mfcc: {{plugin: magnitude, args: {{hop: {hop}}}}}", recipe.read_text()
        )
        (recipe.parent / "other.yaml").write_text(text)
        (code,) = code_of_levels(load_source(recipe.parent / "other.yaml").recipe).values()
        assert list(code) == ["audio-classification-toolkit", "my-levels", "arguments"]
        keys.append(key(One(), code=code))
    default_registry.cache_clear()
    assert keys[0] != keys[1]
