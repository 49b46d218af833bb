import re
from collections import Counter

import numpy as np
import pytest
import soundfile
from iemocap_release import COUNTS, LEFT_OUT, build_release
from recipe_files import recipe_of

from toolkit.corpus import apply_labels, read_manifest
from toolkit.corpus.checks import check_corpus
from toolkit.corpus.manifests import manifest_text
from toolkit.corpus.protocols import make_folds
from toolkit.errors import CorpusError, RecipeError
from toolkit_plugins.corpora.iemocap import Iemocap

LABELS = ["ang", "sad", "hap", "neu"]
LABEL_MAP = {"exc": "hap"} | dict.fromkeys(LEFT_OUT)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """Label files with the real names, a wav of 50 ms for each turn of the four classes."""
    folder = tmp_path_factory.mktemp("iemocap")
    wave = np.random.default_rng(1).normal(0, 0.1, 800)
    soundfile.write(folder / "one.wav", wave, 16000, subtype="PCM_16")
    return build_release(folder, folder / "one.wav")


@pytest.fixture(scope="module")
def everything(release):
    return Iemocap().read(release)


@pytest.fixture(scope="module")
def used(everything):
    return apply_labels(everything, LABELS, LABEL_MAP)[0]


def dialog_folder(release, session=1):
    return release / f"Session{session}" / "dialog" / "EmoEvaluation"


def small_release(folder, lines):
    """One session with one dialog."""
    labels = folder / "Session1" / "dialog" / "EmoEvaluation"
    labels.mkdir(parents=True)
    (labels / "Ses01F_impro01.txt").write_text("% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n" + lines)
    return Iemocap(sessions=[1])


def test_labels_of_the_release_are_counted_as_published(everything):
    assert Counter(u.label for u in everything) == {
        **{"ang": 1103, "hap": 595, "exc": 1041, "sad": 1084, "neu": 1708},
        **LEFT_OUT,
    }


def test_counts_by_speaker_and_class_are_those_of_the_protocol(everything, used):
    report = check_corpus(everything, recipe_of(LABELS, LABEL_MAP))
    assert list(report.counts) == list(COUNTS)
    assert {speaker: tuple(row.values()) for speaker, row in report.counts.items()} == COUNTS
    assert list(report.counts["1M"]) == LABELS
    assert len(used) == 5531
    assert not report.stops
    assert [p.kind for p in report.problems] == ["duplicate"]
    left_out = ", ".join(f"{label} ({count})" for label, count in sorted(LEFT_OUT.items()))
    found, note = report.notes
    assert found.startswith("5531 utterances, ") and found.endswith(" h could be read, 5531 segments")
    assert note == f"left out on purpose by label_map: {left_out}"
    assert report.as_dict()["counts"]["1M"] == {"ang": 82, "sad": 116, "hap": 146, "neu": 213}


def test_the_folder_may_be_the_release_or_hold_it(release, everything):
    assert Iemocap().read(release.parent) == everything
    assert Iemocap().read(str(release)) == everything


def test_the_speaker_is_who_speaks_and_not_who_wears_the_markers(used):
    wearer = [re.match(r"Ses0([1-5])([FM])", u.id) for u in used]
    assert sum(match[2] != u.gender for u, match in zip(used, wearer, strict=True)) == 2750
    for u in used:
        turn = re.fullmatch(r"Ses0([1-5])([FM])_(impro\d\d[ab]?|script\d\d_\db?)_([FM])(\d{3})", u.id)
        assert (u.speaker, u.gender, u.session) == (turn[1] + turn[4], turn[4], f"Session{turn[1]}")


def test_fixed_character_positions_would_file_65_women_as_men(used):
    at_fixed_place = {u.id: (u.id[18] if "script" in u.id else u.id[15]) for u in used}
    wrong = [u for u in used if u.gender == "F" and at_fixed_place[u.id] != "F"]
    assert len(wrong) == 65
    assert {u.extra["dialog"][7:] for u in wrong} == {"impro05a", "impro05b", "impro08a", "script01_1b"}


def test_audio_lies_below_its_session_and_dialog(release, used):
    u = next(u for u in used if u.extra["dialog"] == "Ses02M_script01_3")
    assert u.path == release / "Session2" / "sentences" / "wav" / "Ses02M_script01_3" / f"{u.id}.wav"
    assert all(u.path.is_file() for u in used[::50])
    assert (u.start, u.end, u.text) == (None, None, None)


def test_dotfiles_and_single_raters_files_are_not_label_files(everything):
    assert len({u.id for u in everything}) == len(everything) == 10039


def test_ten_folds_hold_out_one_speaker_each(used):
    folds = make_folds(used, "loso")
    assert [f.name for f in folds] == ["1M", "1F", "2M", "2F", "3M", "3F", "4M", "4F", "5M", "5F"]
    assert [len(f.test) for f in folds] == [sum(row) for row in COUNTS.values()]
    assert [len(f.valid) for f in folds][:2] == [528, 557]
    assert len(make_folds(used, "session-out")) == 5


def test_it_can_be_written_as_a_manifest_and_read_again(everything, tmp_path):
    (tmp_path / "m.csv").write_text(manifest_text(everything, tmp_path / "m.csv"))
    assert read_manifest(tmp_path / "m.csv") == everything


def test_missing_audio_is_reported_not_a_crash(tmp_path):
    line = "[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]\n"
    corpus = small_release(tmp_path, line + line.replace("F000", "M000").replace("neu", "ang"))
    report = check_corpus(corpus.read(tmp_path), recipe_of())
    assert report.counts == {"1M": {"ang": 1, "neu": 0}, "1F": {"ang": 0, "neu": 1}}
    assert [p.kind for p in report.problems] == ["missing", "missing"] and report.stops


def test_transcriptions_are_read_where_they_are(tmp_path):
    corpus = small_release(tmp_path, "[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]\n")
    texts = tmp_path / "Session1" / "dialog" / "transcriptions"
    texts.mkdir()
    (texts / "Ses01F_impro01.txt").write_text("Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.\nF: Hi\n")
    (u,) = corpus.read(tmp_path)
    assert u.text == "Excuse me." and u.extra["valence"] == "2.5000"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("[1.0 - 2.0] gibberish\n", r"Ses01F_impro01\.txt:3: not a label line"),
        (
            "[1.0 - 2.0]\tSes02F_impro01_F000\tneu\t[2.5, 2.5, 2.5]\n",
            "'Ses02F_impro01_F000' is not a turn of session 1",
        ),
        ("[1.0 - 2.0]\tSes01F_impro01_X000\tneu\t[2.5, 2.5, 2.5]\n", "is not a turn of session 1"),
        ("[1.0 - 2.0]\tSes01F_impro01_F000\tneu\t[2.5, 2.5, 2.5]\n" * 2, "labelled twice"),
    ],
)
def test_a_damaged_label_file_is_one_line_with_file_and_line_number(tmp_path, line, says):
    with pytest.raises(CorpusError, match=says) as caught:
        small_release(tmp_path, line).read(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text.encode("utf-16"), "holds no label line"),
        (lambda text: text.replace("[6", "  [6").encode(), ":3: not a label line"),
        (lambda text: b"% nothing\n", "holds no label line"),
        (lambda text: b"", "holds no label line"),
    ],
)
def test_a_label_file_from_which_nothing_or_not_all_is_read_is_named(tmp_path, change, says):
    corpus = small_release(tmp_path, "[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]\n")
    file = dialog_folder(tmp_path) / "Ses01F_impro01.txt"
    assert len(corpus.read(tmp_path)) == 1
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert len(corpus.read(tmp_path)) == 1
    file.write_bytes(change(file.read_text(encoding="utf-8-sig")))
    with pytest.raises(CorpusError, match=says) as caught:
        corpus.read(tmp_path)
    assert str(file) in str(caught.value)


def test_a_release_that_lacks_sessions_or_is_there_twice_is_refused(tmp_path):
    (tmp_path / "Session1").mkdir()
    with pytest.raises(CorpusError, match="is not IEMOCAP: it holds Session1; expected"):
        Iemocap(sessions=[1]).read(tmp_path)
    small_release(tmp_path / "release", "")
    with pytest.raises(CorpusError, match=r"release lacks the label files of Session2, Session3, .*sessions"):
        Iemocap().read(tmp_path)
    small_release(tmp_path / "copy", "")
    with pytest.raises(CorpusError, match=r"IEMOCAP was found twice, .*/copy/.* and .*/release/.*: name one"):
        Iemocap(sessions=[1]).read(tmp_path)
    with pytest.raises(RecipeError, match="sessions are numbers from 1 to 5"):
        Iemocap(sessions=[6])
