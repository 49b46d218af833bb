import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from recipe_files import recipe_of

from toolkit.audio.waves import read_audio
from toolkit.corpus.checks import check_corpus
from toolkit.corpus.protocols import make_folds
from toolkit.errors import CorpusError
from toolkit_plugins.corpora.ravdess import GROUPS, LABELS, Ravdess

ROOT = Path(os.environ.get("RAVDESS_ROOT") or Path(__file__).parents[4] / "shared" / "data" / "ravdess")
needs_corpus = pytest.mark.skipif(not ROOT.is_dir(), reason="RAVDESS_ROOT is not set")


def names(actor: int, *, modality="03", channel="01"):
    """The 60 names of an actor: neutral has one intensity, the other seven emotions two."""
    for emotion in range(1, 9):
        for intensity in ("01",) if emotion == 1 else ("01", "02"):
            for statement in ("01", "02"):
                for repetition in ("01", "02"):
                    yield f"{modality}-{channel}-{emotion:02d}-{intensity}-{statement}-{repetition}-{actor:02d}.wav"


@pytest.fixture(scope="module")
def zip_folder(tmp_path_factory):
    """The zips of speech and song side by side, files as hard links to one of 48 kHz."""
    folder = tmp_path_factory.mktemp("ravdess")
    soundfile.write(folder / "one.wav", np.random.default_rng(1).normal(0, 0.1, (4800, 2)), 48000, subtype="PCM_16")
    for actor in range(1, 25):
        speech = folder / "Audio_Speech_Actors_01-24" / f"Actor_{actor:02d}"
        speech.mkdir(parents=True)
        for name in names(actor):
            (speech / name).hardlink_to(folder / "one.wav")
        (speech / f"._{next(names(actor))}").write_bytes(b"\0")
        song = folder / "Audio_Song_Actors_01-24" / f"Actor_{actor:02d}"
        song.mkdir(parents=True)
        for name in list(names(actor, channel="02"))[:4]:
            (song / name).touch()
    return folder


def test_the_zips_folder_has_1440_utterances_and_songs_are_passed_over(zip_folder):
    us = Ravdess().read(zip_folder)
    assert len(us) == 1440
    assert us == sorted(Ravdess().read(zip_folder / "Audio_Speech_Actors_01-24"), key=lambda u: u.id)
    assert Counter(u.label for u in us) == {label: 96 if label == "neutral" else 192 for label in LABELS}
    assert Counter(u.gender for u in us) == {"M": 720, "F": 720}


def test_label_speaker_gender_and_group_come_from_the_name(zip_folder):
    of = {u.id: u for u in Ravdess().read(zip_folder)}
    u = of["03-01-05-02-01-02-12"]
    assert (u.label, u.speaker, u.gender, u.group) == ("angry", "12", "F", "2")
    assert u.text == "Kids are talking by the door"
    assert u.extra == {"intensity": "02", "statement": "01", "repetition": "02"}
    assert of["03-01-08-01-02-01-21"].label == "surprised" and of["03-01-08-01-02-01-21"].gender == "M"


def test_the_six_groups_hold_all_actors_once_and_make_six_folds(zip_folder):
    assert sorted(actor for group in GROUPS for actor in group) == list(range(1, 25))
    us = Ravdess().read(zip_folder)
    folds = make_folds(us, "groups")
    speaker = {u.id: int(u.speaker) for u in us}
    assert [f.name for f in folds] == ["1", "2", "3", "4", "5", "6"]
    for i, fold in enumerate(folds):
        assert {speaker[x] for x in fold.test} == set(GROUPS[i])
        assert {speaker[x] for x in fold.valid} == set(GROUPS[(i + 1) % 6])
        assert len({speaker[x] for x in fold.train}) == 16


def test_48_khz_stereo_is_read_at_16_khz_mono_with_a_warning(zip_folder):
    us = Ravdess().read(zip_folder)[::16]
    assert read_audio(us[0].path, sample_rate=16000).shape == (1600,)
    report = check_corpus(us, recipe_of())
    assert Counter(p.kind for p in report.problems) == {"stereo": 90, "odd-rate": 1, "duplicate": 1}
    assert not report.stops


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("Actor_01/hello.wav", "hello.wav is not named as RAVDESS"),
        ("Actor_01/03-01-09-01-01-01-01.wav", "is not named as RAVDESS"),
        ("Actor_01/03-01-01-01-01-01-02.wav", "is of actor 02, in folder Actor_01"),
        ("Actor_25/03-01-01-01-01-01-25.wav", "is of actor 25"),
        ("Actor_01/01-01-01-01-01-01-01.wav", "is not RAVDESS's speech part: it holds Actor_01"),
    ],
)
def test_a_file_that_does_not_belong_is_named(tmp_path, file, says):
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).touch()
    with pytest.raises(CorpusError, match=says):
        Ravdess().read(tmp_path)


@pytest.mark.parametrize("other", ["a", "."])
def test_the_same_file_in_two_folders_is_refused_and_both_are_named(tmp_path, other):
    for copy in (other, "b"):
        (tmp_path / copy / "Actor_01").mkdir(parents=True)
        (tmp_path / copy / "Actor_01" / "03-01-01-01-01-01-01.wav").touch()
    with pytest.raises(CorpusError, match=r"RAVDESS's speech part was found twice, .*: name one") as caught:
        Ravdess().read(tmp_path)
    assert all(str(tmp_path / copy / "Actor_01") in str(caught.value) for copy in (other, "b"))


@needs_corpus
def test_the_real_corpus_has_no_problem():
    us = Ravdess().read(ROOT)
    report = check_corpus(us, recipe_of(list(LABELS)))
    assert not report.stops
    assert list(report.counts) == [f"{actor:02d}" for actor in range(1, 25)]
    assert sum(sum(row.values()) for row in report.counts.values()) == len(us) >= 1434
