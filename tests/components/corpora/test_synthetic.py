import os
import signal
import subprocess
import sys
import time
import wave

import numpy as np
import pytest
from recipe_files import recipe_of
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from toolkit.corpus import apply_labels
from toolkit.corpus.checks import check_corpus
from toolkit.corpus.protocols import make_folds
from toolkit.errors import CorpusError, RecipeError
from toolkit_plugins.corpora.manifest import Manifest
from toolkit_plugins.corpora.synthetic import Synthetic
from toolkit_plugins.corpora.synthetic_speech import SAMPLE_RATE, Manner, Voice, draw_manner, draw_voice, speak

LABELS, LABEL_MAP = ["ang", "hap", "neu", "sad"], {"exc": "hap", "fru": None, "xxx": None}
SMALL = {"utterances_per_speaker": 4, "min_seconds": 0.3, "max_seconds": 0.4}
MAKE = "import sys; from pathlib import Path; from toolkit_plugins.corpora.synthetic import Synthetic; "


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return Synthetic(utterances_per_speaker=16).read(tmp_path_factory.mktemp("cache"))


def samples(path) -> np.ndarray:
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768


def mean_spectrum(signal: np.ndarray) -> np.ndarray:
    """Log energies in 24 bands for each frame of 25 ms: [frames, 24]."""
    frames = np.lib.stride_tricks.sliding_window_view(signal, 400)[::160] * np.hanning(400)
    power = np.abs(np.fft.rfft(frames)) ** 2  # [frames, 201]
    edges = np.unique(np.geomspace(2, 201, 25).astype(int))
    return np.log(1e-7 + np.add.reduceat(power, edges[:-1], axis=1))


def test_it_is_read_by_the_code_that_reads_iemocap_and_has_its_shape(made):
    assert Synthetic.synthetic and Synthetic.environment is None
    kept, _ = apply_labels(made, LABELS, LABEL_MAP)
    assert len(kept) == 160 and len(made) == 180
    report = check_corpus(made, recipe_of(LABELS, LABEL_MAP, covariates=["gender"]))
    assert list(report.counts) == ["1M", "1F", "2M", "2F", "3M", "3F", "4M", "4F", "5M", "5F"]
    assert all(row == {"ang": 4, "hap": 4, "neu": 4, "sad": 4} for row in report.counts.values())
    assert report.problems == []
    assert len(make_folds(kept, "loso")) == 10


def test_the_marker_wearer_is_often_not_the_speaker(made):
    wrong = sum(u.id[5] != u.gender for u in made)
    assert 0.4 < wrong / len(made) < 0.6
    assert {u.id.split("_")[1] for u in made} >= {"impro01", "impro05a", "script01"}


def test_a_linear_classifier_separates_most_but_not_all_utterances_of_unknown_speakers(made):
    kept, _ = apply_labels(made, LABELS, LABEL_MAP)
    spectra = [mean_spectrum(samples(u.path)) for u in kept]
    inputs = np.array([np.r_[s.mean(0), s.std(0)] for s in spectra])
    labels, speakers = np.array([u.label for u in kept]), np.array([u.speaker for u in kept])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.03, max_iter=2000))
    guessed = cross_val_predict(model, inputs, labels, groups=speakers, cv=LeaveOneGroupOut())
    assert 0.6 < recall_score(labels, guessed, average="macro") < 0.95


def test_women_are_higher_and_have_shorter_vocal_tracts():
    voices = {g: [draw_voice(g, np.random.default_rng(i)) for i in range(50)] for g in "MF"}
    assert np.mean([v.pitch_hz for v in voices["F"]]) > 1.6 * np.mean([v.pitch_hz for v in voices["M"]])
    assert min(v.formants for v in voices["F"]) > np.mean([v.formants for v in voices["M"]])


def test_anger_is_louder_higher_and_brighter_than_sadness():
    drawn = {x: [draw_manner(x, np.random.default_rng(i)) for i in range(50)] for x in ("ang", "sad")}
    for name in ("pitch", "range", "level_db", "rate", "corner_hz"):
        assert np.mean([getattr(m, name) for m in drawn["ang"]]) > np.mean([getattr(m, name) for m in drawn["sad"]])


@pytest.mark.parametrize("pitch_hz", [100.0, 125.0, 200.0])
def test_the_pitch_of_the_voice_is_the_requested_one(pitch_hz):
    voice = Voice(pitch_hz=pitch_hz, formants=1.0, slope=1.0, rate=1.0, breath=0.0, level_db=0.0)
    steady = Manner(range=0.0, unrest=0.0, pauses=0.0)
    speech = speak(voice, steady, seconds=3.0, rng=np.random.default_rng(1)).astype(float)
    spectrum = np.abs(np.fft.rfft(speech, 1 << 17)) ** 2
    correlation = np.fft.irfft(spectrum)
    lags = np.arange(SAMPLE_RATE // 400, SAMPLE_RATE // 60)
    assert SAMPLE_RATE / lags[np.argmax(correlation[lags])] == pytest.approx(pitch_hz, rel=0.02)


def test_the_same_seed_makes_the_same_audio_to_the_byte_and_another_does_not(tmp_path):
    a = Synthetic(**SMALL).read(tmp_path / "a")
    b = Synthetic(**SMALL).read(tmp_path / "b")
    c = Synthetic(**SMALL, seed=2).read(tmp_path / "b")
    assert [u.path.read_bytes() for u in a] == [u.path.read_bytes() for u in b]
    assert a[0].path.read_bytes() != c[0].path.read_bytes()


def test_any_length_down_to_the_shortest_can_be_spoken():
    for i in range(60):
        rng = np.random.default_rng(i)
        speech = speak(draw_voice("MF"[i % 2], rng), draw_manner("xxx", rng), seconds=0.2 + i / 99, rng=rng)
        assert len(speech) == round((0.2 + i / 99) * 16000)
        assert np.isfinite(speech).all() and 0.001 < np.abs(speech).max() <= 0.98 + 1e-6


def test_it_is_made_once_in_the_users_cache_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    place = Synthetic(**SMALL).prepare(None)
    assert place.parent == tmp_path / "audio-classification-toolkit" and place.name.startswith("synthetic-")
    assert "making the synthetic corpus" in capsys.readouterr().err
    before = place.stat().st_mtime_ns
    assert Synthetic(**SMALL).prepare(None) == place
    assert place.stat().st_mtime_ns == before and capsys.readouterr().err == ""


def test_other_arguments_make_another_folder():
    names = [Synthetic(**SMALL).name(), Synthetic(**SMALL, seed=2).name(), Synthetic().name()]
    assert len(set(names)) == 3 and Synthetic(seed=1).name() == Synthetic().name()


def test_a_killed_process_leaves_no_partial_corpus_and_the_next_cleans_up(tmp_path):
    code = MAKE + "Synthetic(utterances_per_speaker=400).prepare(Path(sys.argv[1]))"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while len(list(tmp_path.glob(".*.partial/**/*.wav"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (partial,) = tmp_path.glob(".*.partial")
    assert not [p for p in tmp_path.iterdir() if not p.name.startswith(".")]
    name = Synthetic(**SMALL).name()
    partial.rename(tmp_path / f".{name}.old.partial")
    place = Synthetic(**SMALL).prepare(tmp_path)
    assert len(list(place.rglob("*.wav"))) == 60
    assert not list(tmp_path.glob(".*.partial"))


def test_two_processes_at_the_same_time_get_one_whole_corpus(tmp_path):
    code = MAKE + f"print(len(Synthetic(**{SMALL}).read(Path(sys.argv[1]))))"
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    answers = [run.communicate(timeout=60) for run in runs]
    assert [out.strip() for out, _ in answers] == ["60", "60", "60"]
    assert sum("making" in err for _, err in answers) == 1
    assert len([p for p in tmp_path.iterdir() if p.is_dir()]) == 1


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CorpusError, match=r"cannot be written \(.*XDG_CACHE_HOME"):
        Synthetic(**SMALL).prepare(tmp_path / "file")


@pytest.mark.parametrize(
    "args",
    [{"utterances_per_speaker": 3}, {"seed": -1}, {"min_seconds": 0.1}, {"min_seconds": 3.0, "max_seconds": 2.0}],
)
def test_arguments_that_make_no_sense_are_refused_by_name(args):
    with pytest.raises(RecipeError, match=next(iter(args))):
        Synthetic(**args)


def test_the_manifest_corpus_finds_its_file(tmp_path, monkeypatch):
    (tmp_path / "manifest.csv").write_text("path,label\na.wav,x\n")
    (tmp_path / "other.json").write_text('[{"path": "b.wav", "label": "y"}]')
    assert Manifest().read(tmp_path)[0].label == "x"
    assert Manifest().read(tmp_path / "manifest.csv")[0].label == "x"
    assert Manifest(path="other.json").read(tmp_path)[0].label == "y"
    assert Manifest(path=str(tmp_path / "other.json")).read(None)[0].label == "y"
    monkeypatch.chdir(tmp_path)
    assert Manifest(path="other.json").read(None)[0].path == tmp_path / "b.wav"
    (tmp_path / "manifest.csv").unlink()
    with pytest.raises(CorpusError, match=r"it holds other\.json: name one"):
        Manifest().read(tmp_path)
    with pytest.raises(CorpusError, match="needs --manifest FILE"):
        Manifest().read(None)
    with pytest.raises(CorpusError, match="No manifest at"):
        Manifest(path="no.csv").read(None)
