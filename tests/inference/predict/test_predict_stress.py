"""`toolkit stress`: the same recordings in other conditions, each compared with the augmentation itself."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner
from stand_in_bundle import write_bundle

import toolkit
from toolkit.cli.main import main as cli
from toolkit.inference.predict.comparison import AS_RECORDED, CONDITIONS
from toolkit.inference.predict.evaluation import LabelledTest
from toolkit.inference.predict.model import RecordingResult
from toolkit.inference.predict.recordings import Samples
from toolkit_plugins.augmentations.gain import amplified
from toolkit_plugins.augmentations.telephone import telephoned

pytestmark = pytest.mark.usefixtures("stand_in")

TITLES = [title for title, *_ in CONDITIONS.values()]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("stress") / "bundle", seed=3)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """Seven speakers with a loud tone and a soft noise each."""
    folder, rng, lines = tmp_path_factory.mktemp("corpus"), np.random.default_rng(7), ["path,label,speaker,gender"]
    for speaker in range(7):
        time = np.arange(4800) / 16_000
        waves = {"tone": 0.9 * np.sin(2 * np.pi * (150 + 20 * speaker) * time), "noise": 0.01 * rng.normal(size=4800)}
        for label, wave in waves.items():
            soundfile.write(folder / f"{speaker}-{label}.wav", wave, 16_000, subtype="FLOAT")
            lines.append(f"{speaker}-{label}.wav,{label},s{speaker},{'FM'[speaker % 2]}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.csv"


def run(*words):
    return CliRunner().invoke(cli, ["stress", *map(str, words)], catch_exceptions=False)


def found(*words) -> dict:
    return json.loads(run(*words, "--json").stdout)


def wa_by_hand(bundle: Path, manifest: Path, change) -> float:
    model, right = toolkit.load(bundle, device="cpu"), []
    for line in manifest.read_text().splitlines()[1:]:
        name, label, *_ = line.split(",")
        wave = torch.from_numpy(soundfile.read(manifest.parent / name, dtype="float32")[0])
        right.append(model.predict(change(wave).clamp(-1, 1), sample_rate=16_000).label == label)
    return float(np.mean(right))


def test_every_condition_is_the_augmentation_of_the_recordings(bundle, corpus):
    result = found(bundle, corpus)
    assert list(result["conditions"]) == [AS_RECORDED, *TITLES]
    by_hand = {
        AS_RECORDED: lambda wave: wave,
        "20 dB softer": lambda wave: amplified(wave, -20),
        "10 dB louder, clipped": lambda wave: amplified(wave, 10),
        "by telephone": lambda wave: telephoned(wave, sample_rate=16_000),
    }
    for title, change in by_hand.items():
        assert result["conditions"][title]["wa"] == pytest.approx(wa_by_hand(bundle, corpus, change)), title
    recorded = result["conditions"].pop(AS_RECORDED)
    assert recorded["change"] is None and recorded["n_utterances"] == 14
    for title, values in result["conditions"].items():
        assert values["change"] == pytest.approx(values["ua"] - recorded["ua"]), title
    assert found(bundle, corpus) == found(bundle, corpus), "the noise has a fixed seed"


def test_the_noise_of_a_recording_does_not_depend_on_the_others(bundle, corpus, monkeypatch):
    head, *rows = corpus.read_text().splitlines()
    fewer = corpus.with_name("fewer.csv")
    fewer.write_text("\n".join([head, *reversed(rows[4:])]) + "\n")
    answers, run_test = {}, LabelledTest.run

    def run_and_keep(test, *recordings, what):
        result = run_test(test, *recordings, what=what)
        answers[test.manifest, what] = dict(zip(result.id.tolist(), result.probabilities.tolist(), strict=True))
        return result

    monkeypatch.setattr(LabelledTest, "run", run_and_keep)
    for manifest in (corpus, fewer):
        found(bundle, manifest, "--condition", "noise-0", "--batch-size", "1")
    among, alone = (answers[str(manifest), "pink noise at 0 dB"] for manifest in (corpus, fewer))
    assert len(alone) == 10 and alone == {name: among[name] for name in alone}


def test_a_drop_that_is_too_large_ends_with_1_and_is_named(bundle, corpus):
    ua = {title: values["ua"] for title, values in found(bundle, corpus)["conditions"].items()}
    worst = min(ua, key=ua.get)
    lost = 100 * (ua[AS_RECORDED] - ua[worst])
    assert lost > 1, "a system that no condition harms shows nothing"
    done = run(bundle, corpus, "--max-drop", lost - 0.5)
    assert done.exit_code == 1 and f"{worst} ({lost:.1f})" in done.stderr
    assert run(bundle, corpus, "--max-drop", lost + 0.5).exit_code == 0


def test_some_conditions_a_figure_and_a_table(bundle, corpus, tmp_path):
    done = run(bundle, corpus, "--condition", "mp3", "--condition", "room", "--figure", tmp_path / "stress.svg")
    assert done.exit_code == 0 and "MP3 at 32 kbit/s" in done.stdout and "telephone" not in done.stdout
    assert "worst speaker" in done.stdout and "women" in done.stdout
    assert (tmp_path / "stress.svg").read_bytes().startswith(b"<?xml")


def test_a_file_that_cannot_be_read_is_left_out_of_all_conditions_and_named_once(bundle, corpus, tmp_path):
    manifest = tmp_path / "manifest.csv"
    rows = [f"{corpus.parent / line}" for line in corpus.read_text().splitlines()[1:]]
    manifest.write_text("\n".join(["path,label,speaker,gender", *rows, f"{tmp_path / 'gone.wav'},tone,s0,F"]) + "\n")
    done = run(bundle, manifest, "--condition", "softer", "--json")
    assert done.exit_code == 1 and done.stderr.count("gone.wav") == 1
    result = json.loads(done.stdout)
    assert result["n_skipped"] == 1 and result["conditions"]["20 dB softer"]["n_utterances"] == 14


def test_what_one_condition_cannot_use_is_left_out_of_all_and_counted(bundle, corpus, monkeypatch):
    def add(result, samples, scores, embeddings, add=RecordingResult.add):
        too_soft = isinstance(result.recording, Samples) and abs(result.recording.values).max() < 0.01
        add(result, samples, scores * np.nan if too_soft else scores, embeddings)

    monkeypatch.setattr(RecordingResult, "add", add)  # the noise, 20 dB softer, is too soft
    result = found(bundle, corpus, "--condition", "softer")
    assert result["n_skipped"] == 7 and result["conditions"][AS_RECORDED]["n_utterances"] == 7
    assert result["missing_classes"] == ["noise"]
    assert "Left out, since they could not be read: 7." in result["notes"]
    done = run(bundle, corpus, "--condition", "softer")
    assert done.exit_code == 1 and "could not be read: 7." in done.stdout


def test_a_recording_whose_name_is_not_utf_8_has_noise_as_any_other(bundle, corpus, tmp_path):
    for label in ("tone", "noise"):
        (tmp_path / label).mkdir()
        shutil.copy(corpus.parent / f"1-{label}.wav", tmp_path / label / "caf\udce9.wav")
    assert run(bundle, tmp_path, "--condition", "noise-10").exit_code == 0


def test_a_condition_that_does_not_fit_the_system_is_refused_before_anything_is_labelled(bundle, corpus, monkeypatch):
    monkeypatch.setitem(CONDITIONS, "mp3", ("MP3 at 4 kbit/s", "codec", {"kbit_per_s": [4, 4]}))
    monkeypatch.setattr(LabelledTest, "run", lambda *args, **options: pytest.fail("it was labelled"))
    done = run(bundle, corpus)
    assert done.exit_code == 2 and "mp3 does not fit the system" in done.stderr
    assert "neither may be below 8" in done.stderr and "name other conditions" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--condition", "telefone"], "'telefone' is not one of 'softer', 'louder', 'noise-20'"),
        (["--figure", "x.pdf"], "x.pdf ends in neither .png nor .svg."),
        (["--max-drop", "-1"], "--max-drop"),
    ],
)
def test_a_wrong_option_is_one_line(bundle, corpus, words, message):
    done = run(bundle, corpus, *words)
    assert done.exit_code == 2 and message in done.stderr and done.stdout == ""
