"""Streams and overlapping segments: a stream predicts what the whole recording gets."""

import gc
import weakref

import numpy as np
import pytest
import torch
from trained_model import random_model, random_system

from toolkit.errors import AudioError, PredictionError, ShapeError
from toolkit.inference.predict.model import Model
from toolkit.inference.predict.recordings import Samples
from toolkit.recipe.schema import AudioSpec

RATE = 16_000


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Model:
    """Segments of 0.3 s."""
    return random_model(tmp_path_factory.mktemp("model"))


def noise(samples: int, *channels: int) -> np.ndarray:
    return np.random.default_rng(samples).uniform(-0.5, 0.5, (*channels, samples)).astype(np.float32)


@pytest.mark.parametrize(("rate", "channels"), [(8000, ()), (16_000, ()), (44_100, (2,))])
@pytest.mark.parametrize("hop_s", [None, 0.0625])
def test_a_stream_labels_as_the_whole_is_labelled_to_the_bit(model, rate, hop_s, channels):
    """Chunks of 0 to 0.4 s, which are cut and resampled as they come."""
    wave, rng = noise(int(1.234 * rate), *channels), np.random.default_rng(rate)
    (whole,) = model.predict_many([Samples(wave, rate)], batch_size=1, hop_s=hop_s)
    for _ in range(2):
        stream, found, at = model.stream(rate, hop_s=hop_s), [], 0
        while at < wave.shape[-1]:
            size = rng.choice([0, 1, 7, 160, rng.integers(1, int(0.4 * rate))])
            found += stream.add(wave[..., at : at + size])
            at += size
        found += stream.end()
        assert tuple(found) == whole.segments
        assert stream.prediction().probabilities == whole.probabilities
        assert (stream.prediction().start_s, stream.prediction().end_s) == (0.0, whole.end_s)


def test_a_stream_and_batches_differ_only_by_rounding(model):
    wave = noise(20_000)
    stream = model.stream(RATE, hop_s=0.05)
    found = [*stream.add(torch.from_numpy(wave)), *stream.end()]
    whole = model.predict(wave, sample_rate=RATE, hop_s=0.05)
    assert len(found) == len(whole.segments) == 20
    for one, other in zip(found, whole.segments, strict=True):
        assert (one.start_s, one.end_s) == (other.start_s, other.end_s)
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)


def test_a_label_comes_as_soon_as_its_segment_is_complete(model):
    """Segments of 0.3 s, one every 0.1 s, in chunks of 0.1 s at the system's own rate."""
    stream, wave = model.stream(RATE, hop_s=0.1), noise(8000)
    found = [[(s.start_s, s.end_s) for s in stream.add(chunk)] for chunk in np.split(wave, 5)]
    assert found == [[], [], [(0.0, 0.3)], [(0.1, 0.4)], [(0.2, 0.5)]]
    assert stream.end() == []


@pytest.mark.parametrize("tail", ["weighted", "equal"])
def test_overlapping_segments_weigh_in_a_recording_what_they_would_without_overlap(tmp_path, tail):
    """By hand: 0.55 s in segments of 0.3 s, one every 0.2 s: 0 to 0.3, 0.2 to 0.5, 0.4 to 0.55."""
    system, usage = random_system(tmp_path, audio=AudioSpec(segment_seconds=0.3, tail=tail))
    found = Model(system, usage, device="cpu").predict(noise(8800), sample_rate=RATE, hop_s=0.2)
    assert [(s.start_s, s.end_s) for s in found.segments] == [(0.0, 0.3), (0.2, 0.5), (0.4, 0.55)]
    scores = np.log([list(segment.probabilities.values()) for segment in found.segments])
    mean = np.exp(np.average(scores, axis=0, weights=[0.3, 0.3, 0.15] if tail == "weighted" else None))
    assert list(found.probabilities.values()) == pytest.approx(mean / mean.sum(), abs=1e-6)


def test_embeddings_are_means_over_the_same_segments(model):
    wave = noise(9600)
    halves = [model.embed(wave[start : start + 4800], sample_rate=RATE)["fused"] for start in (0, 2400, 4800)]
    assert np.allclose(model.embed(wave, sample_rate=RATE, hop_s=0.15)["fused"], np.mean(halves, axis=0), atol=1e-5)


def test_a_stream_keeps_no_prediction_that_it_has_given(model):
    stream, wave = model.stream(RATE, hop_s=0.1), noise(16_000)
    given = [weakref.ref(prediction) for prediction in stream.add(wave)]
    gc.collect()
    assert len(given) == 8 and all(prediction() is None for prediction in given)


@pytest.mark.parametrize("hop_s", [0, -0.5, 0.301, float("nan"), float("inf"), 1e-9, "0.1"])
def test_a_hop_is_above_0_and_at_most_a_segment(model, hop_s):
    with pytest.raises(PredictionError, match=r"hop is .* s: it must be above 0 and at most a segment, 0.3 s"):
        model.predict(noise(100), sample_rate=RATE, hop_s=hop_s)
    with pytest.raises(PredictionError, match="hop"):
        model.stream(RATE, hop_s=hop_s)


def test_a_stream_refuses_what_predict_refuses_and_says_when_it_has_ended(model, tmp_path):
    with pytest.raises(PredictionError, match="sample_rate is 0"):
        model.stream(0)
    with pytest.raises(PredictionError, match="gender"):
        random_model(tmp_path, "{source: label}").stream(RATE)
    stream = model.stream(RATE)
    for chunk, error in (
        (np.zeros(9, np.int16), ShapeError),
        (np.zeros((1000, 2)), ShapeError),
        (np.full(9, np.nan), AudioError),
    ):
        with pytest.raises(error):
            stream.add(chunk)
    with pytest.raises(PredictionError, match="the stream: no segment has been labelled"):
        stream.prediction()
    assert stream.add(np.zeros((2, 0))) == [] and stream.end() == [] and stream.end() == []
    with pytest.raises(PredictionError, match="has ended"):
        stream.add(np.zeros(9))


def test_scores_that_are_not_finite_end_a_stream(tmp_path):
    model = random_model(tmp_path)
    torch.nn.init.constant_(next(iter(model._system.heads.parameters())), torch.nan)
    with pytest.raises(PredictionError, match="the stream: the system's scores are not finite"):
        model.stream(RATE).add(noise(4800))
