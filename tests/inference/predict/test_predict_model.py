"""A trained system in Python: its predictions alone, in batches and in threads."""

import csv
import gc
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import soundfile
import torch
from trained_model import random_model, random_system, train, usage_of

from toolkit.audio.waves import read_audio
from toolkit.contracts import Seq
from toolkit.corpus.targets import Target
from toolkit.errors import AudioError, PredictionError, ToolkitError
from toolkit.inference.predict import model as model_module
from toolkit.inference.predict.model import Model
from toolkit.inference.predict.predictions import Prediction
from toolkit.inference.predict.recordings import Recording, Samples
from toolkit.recipe.schema import AudioSpec

RATE = 16_000


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def model(run) -> Model:
    return Model(run.system, usage_of(run.preparation), device="cpu")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list:
    """Noise of 0.1 to 2.5 s, in other formats and rates, some in stereo."""
    folder, rng, found = tmp_path_factory.mktemp("files"), np.random.default_rng(0), []
    for number, (ending, rate, seconds, channels) in enumerate(
        [("wav", 16_000, 0.1, 1), ("flac", 44_100, 2.5, 2), ("ogg", 22_050, 0.3, 1), ("mp3", 48_000, 1.0, 2)] * 2
    ):
        found.append(folder / f"{number}.{ending}")
        samples = 0.2 * rng.standard_normal((int(seconds * rate) + number, channels))
        soundfile.write(found[-1], np.clip(samples, -1, 1), rate)
    return found


def vector(answer) -> np.ndarray:
    return np.array(list(answer.probabilities.values()))


def test_the_answers_are_those_of_the_runs_predictions(run, model):
    with (run.folder.path / "predictions.csv").open(newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    test = run.preparation.part("test")
    assert len(rows) == len(test) == 8
    for utterance, prediction in zip(test, model.predict_many([u.path for u in test]), strict=True):
        row = rows[utterance.id]
        assert prediction.label == row["predicted"]
        assert prediction.seconds == pytest.approx(float(row["seconds"]), abs=5e-4)
        for label, p in prediction.probabilities.items():
            assert p == pytest.approx(float(row[f"p_{label}"]), abs=1e-6)


def test_an_embedding_is_that_of_the_runs_archive(run, model):
    utterance = run.preparation.part("test")[3]  # of two segments
    with np.load(run.folder.path / "embeddings.npz") as arrays:
        row = arrays["id"].tolist().index(utterance.id)
        found = model.embed(utterance.path)
        assert set(found) == {"fused", "mfcc"}
        for name, values in found.items():
            assert values.dtype == np.float32
            assert np.allclose(values, arrays[name][row], atol=1e-5)


@pytest.mark.parametrize("tail", ["weighted", "equal"])
def test_a_recordings_answer_is_the_mean_of_its_segments_scores(tmp_path, files, tail):
    """By hand: 1 s in segments of 0.3, 0.3, 0.3 and 0.1 s."""
    system, usage = random_system(tmp_path, audio=AudioSpec(segment_seconds=0.3, tail=tail))
    wave = read_audio(files[3], sample_rate=RATE)
    spans = [(start, min(start + 4800, len(wave))) for start in range(0, len(wave), 4800)]
    rows = [system.eval()(Seq(wave[None, a:b], torch.tensor([b - a])), {}).logits["emotion"][0] for a, b in spans]
    scores = torch.stack(rows).log_softmax(-1).detach().double().numpy()
    weights = [b - a for a, b in spans] if tail == "weighted" else [1] * 4
    expected = Target.probabilities(np.average(scores, axis=0, weights=weights))
    prediction = Model(system, usage, device="cpu").predict(files[3])
    assert np.allclose(vector(prediction), expected, atol=1e-6)
    assert np.allclose([vector(segment) for segment in prediction.segments], Target.probabilities(scores), atol=1e-6)
    assert [(s.start_s, s.end_s) for s in prediction.segments] == [(a / RATE, b / RATE) for a, b in spans]


def test_a_system_of_fixed_length_gets_segments_padded_with_silence_that_counts(tmp_path, files):
    system, usage = random_system(tmp_path)
    system.fusion.fixed_samples = 4800
    found = Model(system, usage, device="cpu").predict(files[0])  # of 1600 samples
    wave = torch.zeros(1, 4800)
    wave[0, :1600] = read_audio(files[0], sample_rate=RATE)
    expected = system(Seq(wave, torch.tensor([4800])), {}).logits["emotion"].softmax(-1)[0]
    assert found.seconds == 0.1 and np.allclose(vector(found), expected.detach(), atol=1e-6)


def test_batches_of_any_size_give_what_each_recording_gives_alone(model, files):
    alone = [model.predict(file) for file in files]
    for batch_size in (1, 3, 100):
        together = list(model.predict_many(files, batch_size=batch_size))
        assert len(together) == len(alone)
        for one, other in zip(alone, together, strict=True):
            assert np.allclose(vector(one), vector(other), atol=1e-5)
            assert [s.start_s for s in one.segments] == [s.start_s for s in other.segments]
            for a, b in zip(one.segments, other.segments, strict=True):
                assert np.allclose(vector(a), vector(b), atol=1e-5)


def test_threads_that_share_a_model_get_what_one_gets(tmp_path, files):
    """Also where a part of the system keeps state on itself during a call, and lets other threads run meanwhile."""
    system, usage = random_system(tmp_path)
    forward = system.forward

    def forgetful(wave, covariates):
        system.wave = wave
        time.sleep(0.001)
        return forward(system.wave, covariates)

    system.forward = forgetful
    model = Model(system, usage, device="cpu")
    expected = [vector(model.predict(file)) for file in files] * 5
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda file: vector(model.predict(file)), files * 5))
    assert np.allclose(found, expected, atol=1e-6)


def test_a_file_and_its_samples_give_the_same(model, files):
    samples, rate = soundfile.read(files[1], dtype="float32", always_2d=True)
    by_file = model.predict(str(files[1]))
    for values in (samples.T, torch.from_numpy(samples.T)):
        assert np.allclose(vector(model.predict(values, sample_rate=rate)), vector(by_file), atol=1e-6)
    embedded = model.embed(samples.T, sample_rate=rate)
    assert np.allclose(embedded["fused"], model.embed(files[1])["fused"], atol=1e-5)


def test_a_stretch_is_labelled_by_itself_and_its_times_are_those_in_the_file(model, files):
    samples, rate = soundfile.read(files[1], dtype="float32", always_2d=True)
    (stretch,) = model.predict_many([Recording(files[1], start_s=1.0, end_s=1.5)])
    alone = model.predict(samples[rate : rate * 3 // 2].T, sample_rate=rate)
    assert np.allclose(vector(stretch), vector(alone), atol=1e-6)
    assert (stretch.start_s, stretch.end_s, stretch.seconds) == (1.0, 1.5, 0.5)
    assert [(s.start_s, s.end_s) for s in stretch.segments] == [(1.0, 1.3), (1.3, 1.5)]


def test_a_prediction_is_typed_frozen_and_consistent(model, files):
    prediction = model.predict(files[0])
    assert tuple(prediction.probabilities) == model.labels == ("noise", "tone")
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
    assert prediction.confidence == prediction.probabilities[prediction.label]
    assert prediction.margin == pytest.approx(abs(np.subtract(*vector(prediction))))
    with pytest.raises(FrozenInstanceError):
        prediction.start_s = 1.0


def test_label_margin_and_abstention_by_hand():
    answer = Prediction({"a": 0.5, "b": 0.125, "c": 0.375}, start_s=0.0, end_s=1.0)
    assert (answer.label, answer.confidence, answer.margin) == ("a", 0.5, 0.125)
    assert answer.label_above(0.5) == "a" and answer.label_above(0.51) is None
    assert Prediction({"a": 0.5, "b": 0.5}, start_s=0.0, end_s=1.0).label == "a"


def test_a_broken_file_fails_alone(model, files, tmp_path):
    """It fails at its end, when its segments are already computed, or wait in a batch with those of others."""
    samples, rate = soundfile.read(files[1], dtype="float32")
    samples[-100:] = np.nan
    broken = tmp_path / "broken.wav"
    soundfile.write(broken, samples, rate, subtype="FLOAT")
    missing = tmp_path / "missing.wav"
    order = [files[0], broken, missing, files[3], broken]
    for batch_size in (1, 2, 100):
        results = list(model.results(order, batch_size=batch_size))
        assert [recording.path for recording, _ in results] == order
        assert [getattr(result, "kind", None) for _, result in results] == [
            None, "not-finite", "missing", None, "not-finite",
        ]  # fmt: skip
        for index in (0, 3):
            assert np.allclose(vector(results[index][1]), vector(model.predict(order[index])), atol=1e-5)
    with pytest.raises(AudioError, match="NaN"):
        list(model.predict_many(order))


def test_no_more_waveforms_are_held_than_a_batch_however_many_and_long_the_recordings_are(model, files, monkeypatch):
    alive, most = weakref.WeakSet(), []
    stream = model_module.segment_waves

    def watched(*args, **options):
        for wave in stream(*args, **options):
            alive.add(wave)
            most.append(len(alive))
            yield wave

    monkeypatch.setattr(model_module, "segment_waves", watched)
    gc.collect()
    for _ in model.predict_many(files * 5, batch_size=4):
        pass
    assert len(most) == 5 * 2 * (1 + 9 + 2 + 4)
    assert max(most) <= 4 + 1  # and one that has just been computed


def test_results_come_while_recordings_are_still_read(model, files):
    asked = []

    def endless():
        while True:
            asked.append(None)
            yield files[0]

    results = model.predict_many(endless(), batch_size=4)
    for _ in range(8):
        next(results)
    assert len(asked) == 8


def test_many_failures_in_a_row_do_not_wait_for_a_batch(model, files, tmp_path):
    asked = []

    def recordings():
        yield files[0]
        for number in range(100):
            asked.append(number)
            yield tmp_path / f"{number}.wav"

    results = model.results(recordings(), batch_size=10)
    assert next(results)[1].label in model.labels
    assert len(asked) <= 11


def test_a_recording_whose_scores_are_not_finite_fails_alone(tmp_path, files):
    system, usage = random_system(tmp_path)
    forward = system.forward

    def overflowing(wave, covariates):
        output = forward(wave, covariates)
        output.logits["emotion"][wave.values.abs().amax(dim=1) > 10] = torch.nan
        return output

    system.forward = overflowing
    model = Model(system, usage, device="cpu")
    loud = Samples(np.full(4000, 11.0), RATE, name="loud")
    (_, first), (_, second), (_, third) = model.results([files[0], loud, files[0]])
    assert isinstance(second, PredictionError) and "loud: the system's scores are not finite" in str(second)
    assert np.allclose(vector(first), vector(third)) and np.allclose(vector(first), vector(model.predict(files[0])))


def test_wrong_arguments_are_refused(model, files):
    assert model.predict(files[1], sample_rate=16_000) == model.predict(files[1])  # a file states its own rate
    with pytest.raises(PredictionError, match="sample_rate=16000"):
        model.predict(np.zeros(100))
    with pytest.raises(PredictionError, match="is one path: give a list"):
        list(model.predict_many("talk.wav"))
    with pytest.raises(PredictionError, match="no covariate 'gender'"):
        model.predict(files[0], covariates={"gender": "F"})


def test_a_covariate_that_the_system_needs_must_be_given_and_changes_the_prediction(tmp_path, files):
    model = random_model(tmp_path, "{source: label}")
    women, men = (model.predict(files[0], covariates={"gender": value}) for value in ("F", "male"))
    assert not np.allclose(vector(women), vector(men))
    with pytest.raises(PredictionError, match=r"'gender'.*it knows F, M.*covariates=") as error:
        model.predict(files[0])
    assert "\n" not in str(error.value)
    with pytest.raises(PredictionError, match="'X' is not one of F, M"):
        model.predict(files[0], covariates={"gender": "X"})
    mixed = [Recording(files[0], covariates={"gender": g}) for g in "FM"]
    for one, other in zip(model.predict_many(mixed), (women, men), strict=True):
        assert np.allclose(vector(one), vector(other), atol=1e-6)


def test_a_missing_device_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    system, usage = random_system(tmp_path)
    with pytest.raises(ToolkitError, match="0 GPUs"):
        Model(system, usage, device="cuda")
