"""From a run to answers: export, predict, evaluate, `toolkit.load` and ONNX Runtime on one real bundle."""

import csv
import io
import json
import zipfile

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from small_bundle import train

import toolkit
from toolkit.cli.main import main
from toolkit.corpus import read_manifest
from toolkit.inference.bundle import read_bundle
from toolkit.statistics.confidence import at_temperature


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def bundle(run, tmp_path_factory):
    target = tmp_path_factory.mktemp("bundle") / "small.zip"
    done = CliRunner().invoke(main, ["export", str(run), str(target), "--onnx"])
    assert done.exit_code == 0, done.output
    return target


@pytest.fixture(scope="module")
def answers(run, bundle):
    """The run's own answers: path of the audio -> its row of predictions.csv, p_tone at the bundle's temperature."""
    paths = {utterance.id: str(utterance.path) for utterance in read_manifest(run / "manifest.csv")}
    rows = list(csv.DictReader((run / "predictions.csv").read_text().splitlines()))
    probabilities = np.array([[float(row["p_noise"]), float(row["p_tone"])] for row in rows])
    tempered = at_temperature(probabilities, read_bundle(bundle).usage.confidence.temperature)
    return {paths[row["id"]]: row | {"p_tone": p} for row, (_, p) in zip(rows, tempered, strict=True)}


def test_the_command_predicts_the_test_part_as_the_run_did(bundle, answers):
    done = CliRunner().invoke(main, ["predict", str(bundle), *answers, "--format", "csv", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["path"] for row in rows] == list(answers)
    for row, own in zip(rows, answers.values(), strict=True):
        assert row["label"] == own["predicted"]
        assert float(row["p_tone"]) == pytest.approx(own["p_tone"], abs=1e-6)


def test_a_loaded_model_predicts_the_same_from_a_path_and_from_samples(bundle, answers):
    model = toolkit.load(bundle, device="cpu")
    for path, own in answers.items():
        wave, rate = soundfile.read(path, dtype="float32")
        for found in (model.predict(path), model.predict(wave, sample_rate=rate)):
            assert found.label == own["predicted"]
            assert found.probabilities["tone"] == pytest.approx(own["p_tone"], abs=1e-6)
    assert set(model.embed(path)) == {"fused", "mfcc"}


def test_evaluated_on_its_test_part_it_scores_what_the_run_scored(bundle, run, answers, tmp_path):
    ids = {row["id"] for row in answers.values()}
    manifest = tmp_path / "test.csv"
    rows = [[u.path, u.label, u.speaker] for u in read_manifest(run / "manifest.csv") if u.id in ids]
    with manifest.open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label", "speaker"], *rows])
    done = CliRunner().invoke(main, ["evaluate", str(bundle), str(manifest), "--json", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    results = json.loads((run / "results.json").read_text())
    found = json.loads(done.stdout)
    assert (found["wa"], found["ua"]) == pytest.approx((results["wa"], results["ua"]))


def test_a_folder_may_lack_the_onnx_model(bundle, tmp_path):
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(tmp_path)
    (tmp_path / "model.onnx").unlink()  # as in a copy of what the hub gives
    assert read_bundle(tmp_path).config == read_bundle(bundle).config


def test_its_onnx_model_answers_as_its_system(bundle, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    with zipfile.ZipFile(bundle) as archive:
        session = onnxruntime.InferenceSession(archive.read("model.onnx"))
    files = read_bundle(bundle).config.files
    assert set(files) == {"model.safetensors", "README.md", "seen.json", "model.onnx"}
    wave = 0.1 * np.random.default_rng(0).standard_normal((2, 4000)).astype(np.float32)
    (scores,) = session.run(None, {"waveform": wave, "lengths": np.array([4000, 4000])})
    model = toolkit.load(bundle, device="cpu")
    for row, found in zip(wave, scores, strict=True):
        expected = model.predict(row, sample_rate=16000).probabilities
        assert np.exp(found) == pytest.approx([expected[label] for label in model.labels], abs=1e-4)
