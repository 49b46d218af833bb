from functools import partial

import numpy as np
import opensmile
import pytest
import torch
from opensmile_plugin.analysis import LEVELS, WINDOW_S, Analysis
from opensmile_plugin.extractor import OpenSmile
from opensmile_plugin.standardize import Standardize

from toolkit.contracts import Seq
from toolkit.testing import assert_contract

FUNCTIONALS = {"eGeMAPSv02": 88, "GeMAPSv01b": 62, "ComParE_2016": 6373, "emobase": 988}
DESCRIPTORS = {"eGeMAPSv02": 25, "GeMAPSv01b": 18, "ComParE_2016": 65, "emobase": 26}


def tone(samples, *, pitch=150.0, level=0.2, sample_rate=16_000):
    """A tone with its octave and a little noise, [samples], float32."""
    time = np.arange(samples) / sample_rate
    noise = 0.01 * np.random.default_rng(0).standard_normal(samples)
    wave = level * (np.sin(2 * np.pi * pitch * time) + 0.3 * np.sin(4 * np.pi * pitch * time) + noise)
    return wave.astype(np.float32)


@pytest.mark.parametrize(("feature_set", "level"), [("eGeMAPSv02", "functionals"), ("ComParE_2016", "descriptors")])
def test_the_extractor_keeps_the_contract(feature_set, level):
    assert_contract("extractor", partial(OpenSmile, feature_set=feature_set, level=level))


@pytest.mark.parametrize("feature_set", WINDOW_S)
def test_features_are_those_of_opensmile(feature_set):
    wave = tone(16_123)
    for level, sizes in (("functionals", FUNCTIONALS), ("descriptors", DESCRIPTORS)):
        smile = opensmile.Smile(feature_set=opensmile.FeatureSet[feature_set], feature_level=LEVELS[level])
        expected = smile.process_signal(wave, 16_000).to_numpy()
        extractor = OpenSmile(feature_set=feature_set, level=level)
        found = extractor.features(Seq(torch.from_numpy(wave)[None], torch.tensor([len(wave)])))
        assert extractor.channels == sizes[feature_set]
        assert np.array_equal(found.values[0].numpy(), expected)


@pytest.mark.parametrize("sample_rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("feature_set", ["eGeMAPSv02", "emobase"])
def test_frames_are_counted_as_opensmile_makes_them(feature_set, sample_rate):
    descriptors = Analysis(feature_set=feature_set, level="descriptors", sample_rate=sample_rate)
    window, hop = descriptors.minimum_samples, sample_rate // 100
    for samples in (1, window - 1, window, window + 1, window + hop, window + 7 * hop - 1, sample_rate):
        found = descriptors(tone(samples, sample_rate=sample_rate))
        assert found.shape == (descriptors.frame_count(samples), descriptors.channels)
        assert np.isfinite(found).all()


def test_an_utterance_is_one_frame_of_functionals_however_short_it_is():
    extractor = OpenSmile()
    wave = Seq(torch.from_numpy(tone(48_000))[None].repeat(3, 1), torch.tensor([48_000, 400, 1]))
    found = extractor(wave)
    assert found.values.shape == (3, 1, 88) and found.lengths.tolist() == [1, 1, 1]
    assert [extractor.frame_count(samples) for samples in (1, 400, 48_000)] == [1, 1, 1]
    assert found.values.isfinite().all()


def test_full_scale_does_not_turn_its_sign():
    analysis = Analysis(feature_set="eGeMAPSv02", level="functionals", sample_rate=16_000)
    square = np.sign(tone(16_000))
    assert square.max() == 1
    nearly = np.clip(square, -1, 32767 / 32768).astype(np.float32)
    assert np.array_equal(analysis(square), analysis(nearly))
    assert np.array_equal(analysis(1.5 * square), analysis(nearly))


def test_the_scaler_learns_mean_and_deviation_of_real_frames_over_batches():
    scaler = Standardize(3, limit=2.0)
    one = torch.tensor([[[1.0, 5.0, 1e12], [3.0, 5.0, 1e12]], [[5.0, 5.0, 3e12], [float("nan")] * 3]])
    two = torch.tensor([[[7.0, 5.0, 3e12]]])
    scaler.fit([Seq(one, torch.tensor([2, 1])), Seq(two, torch.tensor([1]))])
    assert scaler.mean.tolist() == pytest.approx([4.0, 5.0, 2e12])
    assert scaler.deviation.tolist() == pytest.approx([5**0.5, 1.0, 1e12])  # of 1, 3, 5, 7; constant; 1, 1, 3, 3
    assert scaler(torch.tensor([4.0, 6.0, 3e12])).tolist() == pytest.approx([0.0, 1.0, 1.0])
    assert scaler(torch.tensor([-1e6, 1e6, 1e30])).tolist() == [-2.0, 2.0, 2.0]


def test_an_empty_training_part_is_refused():
    with pytest.raises(ValueError, match="the training part is empty"):
        Standardize(1, limit=1.0).fit([])


def test_what_decides_the_features_is_in_the_key_of_the_cache():
    one = OpenSmile().front_end_args
    assert one["version"] == opensmile.__version__
    for other in (OpenSmile(feature_set="emobase"), OpenSmile(level="descriptors"), OpenSmile(sample_rate=8_000)):
        assert other.front_end_args != one
    assert OpenSmile(limit=3.0).front_end_args == one


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"feature_set": "eGeMAPS"}, "feature_set is 'eGeMAPS'; known: eGeMAPSv02, "),
        ({"level": "func"}, "level is 'func'; known: functionals, descriptors"),
        ({"sample_rate": 22_050}, "audio.sample_rate is 22050; .* a multiple of 100"),
        ({"limit": 0.0}, r"limit is 0.0; it has to be greater than 0"),
    ],
)
def test_what_cannot_be_is_refused(args, message):
    with pytest.raises(ValueError, match=message):
        OpenSmile(**args)
