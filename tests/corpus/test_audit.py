"""The audit of a split: what its parts share, by names and by sound, in anybody's files."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from click.testing import CliRunner

from toolkit.cli.main import main
from toolkit.corpus import Utterance
from toolkit.corpus.folds import Fold, audit, check_fold, hear, imbalances, refuse_shared_audio
from toolkit.corpus.listening import listen, near_copies
from toolkit.corpus.splits import read_splits
from toolkit.errors import CorpusError

SHARED = Path(__file__).parents[3] / "shared" / "data"
RATE = 16000


def take(seed: int, seconds: float = 0.8) -> np.ndarray:
    """Like a voice: a pitch that moves, its harmonics under slow envelopes; each seed is another take."""
    rng, time = np.random.default_rng(seed), np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(120 + 15 * np.sin(2 * np.pi * rng.uniform(1, 3) * time + rng.uniform(0, 6))) / RATE
    wave = sum(
        np.sin(k * phase + rng.uniform(0, 6)) * (1 + np.sin(4 * k * time + rng.uniform(0, 6))) / k for k in range(1, 20)
    )
    return (0.1 * wave / np.abs(wave).max()).astype(np.float32)


def as_mp3(wave):
    file = io.BytesIO()
    soundfile.write(file, wave, RATE, format="MP3")
    file.seek(0)
    return soundfile.read(file, dtype="float32")


CHANGES = {
    "gain": lambda wave: (0.2 * wave, RATE),
    "rate": lambda wave: (soxr.resample(wave, RATE, 11025), 11025),
    "mp3": as_mp3,
    "shift": lambda wave: (np.concatenate([np.zeros(3001, np.float32), wave[50:]]), RATE),
    "all": lambda wave: as_mp3(np.pad(soxr.resample(soxr.resample(0.5 * wave, RATE, 8000), 8000, RATE), (777, 4000))),
}


@pytest.fixture(scope="module")
def takes(tmp_path_factory) -> list[Utterance]:
    """Eight takes of two speakers."""
    folder, found = tmp_path_factory.mktemp("takes"), []
    for seed in range(8):
        path = folder / f"{'ab'[seed % 2]}{seed}.wav"
        soundfile.write(path, take(seed), RATE)
        found.append(Utterance(id=path.stem, path=path, label="xy"[seed // 4], speaker=path.stem[0]))
    return found


def copied(u: Utterance, change: str, folder: Path) -> Utterance:
    path = folder / f"c-{change}.wav"
    soundfile.write(path, *CHANGES[change](soundfile.read(u.path, dtype="float32")[0]))
    return Utterance(id=path.stem, path=path, label=u.label, speaker="c")


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_and_other_takes_are_not(takes, tmp_path, change):
    everyone = [*takes, copied(takes[3], change, tmp_path)]
    pairs = [(one.id, other.id) for one, other in near_copies(listen(everyone))]
    assert pairs == [(takes[3].id, f"c-{change}")]


@pytest.mark.skipif(not SHARED.is_dir(), reason="spoken digits are not here")
def test_takes_of_one_digit_by_one_speaker_are_not_copies():
    names = [f"4_nicolas_{take}" for take in range(50)]  # 18 and 9 are the most alike of all digits, at 0.80
    us = [Utterance(id=n, path=SHARED / "fsdd" / "recordings" / f"{n}.wav", label="4") for n in names]
    assert list(near_copies(listen(us))) == []


def test_the_same_audio_is_refused_in_training_and_a_changed_copy_is_left_to_the_audit(takes, tmp_path):
    us = [*takes[:4], copied(takes[0], "mp3", tmp_path)]
    fold = Fold("f", "given", ("a0", "b1"), ("a2", "b3"), ("c-mp3",))
    (warning,) = (p.message for p in check_fold(fold, us, hear(listen(us))))
    assert (
        "1 of 1 utterance of test is copied from audio in train, changed in level" in warning
        and "a0.wav (speaker 'a') in train" in warning
    )
    assert refuse_shared_audio(fold, us) == []
    (tmp_path / "d.wav").write_bytes(us[1].path.read_bytes())
    us[-1] = Utterance(id="c-mp3", path=tmp_path / "d.wav", label="x")
    with pytest.raises(
        CorpusError, match=r"b1.wav \(speaker 'b'\) in train and .*d.wav in test; .*--shared_audio allow"
    ):
        refuse_shared_audio(fold, us)


def test_shares_of_classes_and_genders_that_differ_by_more_than_a_factor_of_two_are_named():
    def part(x: int, y: int, genders: str = "FM"):
        labels = ["x"] * x + ["y"] * y
        return [
            Utterance(id=str(i), path=str(i), label=label, gender=genders[i % len(genders)], speaker=str(i % 2))
            for i, label in enumerate(labels)
        ]

    parts = {"train": part(50, 50), "valid": part(9, 2), "test": part(20, 20, "F")}
    assert list(imbalances(parts)) == [
        "class shares of valid differ from those of train: y 18% (50% in train)",
        "gender shares of test differ from those of train: M 0% (50% in train)",
    ]
    few = {"train": part(98, 2), "valid": part(3, 1), "test": part(3, 0)}
    assert list(imbalances(few)) == ["class shares of test differ from those of train: y 0% (2% in train)"]


def test_what_is_shared_is_counted_by_kind_even_if_it_is_nothing():
    rows = [("train", "ann", "hello"), ("train", "bob", "bye"), ("valid", "bob", "Hello"), ("test", "eve", "new")]
    parts = {}
    for part, who, text in rows:
        parts.setdefault(part, []).append(Utterance(id=who, path=f"{who}{text}", label="x", speaker=who, text=text))
    found = {(s.kind, s.part): (s.names, s.total) for s in audit(parts)}
    assert found == {
        ("speaker", "valid"): (["'bob'"], 1),
        ("speaker", "test"): ([], 1),
        ("text", "valid"): (["'Hello'"], 1),
        ("text", "test"): ([], 1),
    }


def test_every_utterance_of_shared_audio_counts():
    us = {name: Utterance(id=name, path=f"{name}.wav", label="x") for name in "abcd"}
    same = {us[name].place: "one recording" for name in "abc"} | {us["d"].place: "another"}
    (shared,) = audit({"train": [us["a"]], "test": [us["b"], us["c"], us["d"]]}, {"audio": same}, ["audio"])
    assert len(shared.names) == 2 and shared.total == 3 and "2 of 3 utterances of test" in shared.message
    del same[us["d"].place]  # nothing in train has its length: it is not read
    (shared,) = audit({"train": [us["a"]], "test": [us["b"], us["c"], us["d"]]}, {"audio": same}, ["audio"])
    assert shared.total == 3 and "2 of 3 utterances of test" in shared.message


def run(*words: str, code: int):
    done = CliRunner().invoke(main, ["audit-split", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done


def in_json(*words, code: int) -> dict:
    return {fold["fold"]: fold for fold in json.loads(run(*words, "--json", code=code).stdout)}


def kinds(fold: dict) -> list[str]:
    return [problem["kind"] for problem in fold["problems"]]


EMODB = '{"key": "emodb-%s", "dataset": "emodb", "wav": "downloads/%s.wav", "length": 2.1, "emo": "anger"}\n'


def test_emoboxs_lists_have_their_speakers_in_the_names(tmp_path):
    (tmp_path / "emodb_train_fold_1.jsonl").write_text("".join(EMODB % (n, n) for n in ("03a01Wa", "08b02Wb")))
    (tmp_path / "emodb_test_fold_1.jsonl").write_text(EMODB % ("03a02Wc", "03a02Wc"))
    done = run(tmp_path, code=1)
    assert "1 speaker of test is in train, too: '03'" in done.stdout and "LEAKS: emodb_fold_1" in done.stdout
    assert "not checked: the audio of 3 utterances" in done.stdout and "does not exist" in done.stdout
    fold = in_json(tmp_path, "--speaker-pattern", r"emodb-\d\d(a|b)", code=1)["emodb_fold_1"]
    assert fold["parts"]["test"]["shared_speaker"] == {"of": 1, "names": ["'a'"]}
    clean = in_json(tmp_path, "--speaker-pattern", "emodb-(.*)", code=0)["emodb_fold_1"]
    assert kinds(clean) == ["no-validation", "no-audio"]


@pytest.mark.skipif(not SHARED.is_dir(), reason="EmoBox's lists are not here")
def test_emodbs_fold_of_emobox_shares_its_speakers_and_ravdesss_none():
    folds = in_json(SHARED / "emobox", code=1)
    shared = {name: fold["parts"]["test"]["shared_speaker"] for name, fold in folds.items()}
    assert {name: (len(found["names"]), found["of"]) for name, found in shared.items()} == {
        "emodb_fold_1": (10, 10),
        "ravdess_fold_1": (0, 4),
    }


def test_lists_of_paths_find_their_audio_and_a_copy_among_it(takes, tmp_path):
    copy = copied(takes[0], "all", tmp_path)
    for part, names in {"train": ["a0", "b1"], "dev": ["a2"], "test": ["b3", "b5"]}.items():
        (tmp_path / "lists" / "fold_1").mkdir(parents=True, exist_ok=True)
        (tmp_path / "lists" / "fold_1" / f"{part}.txt").write_text("".join(f"wavs/{name}.wav\n" for name in names))
    words = (tmp_path / "lists", "--data_folder", takes[0].path.parent)
    assert kinds(in_json(*words, code=0)["fold_1"]) == ["no-speakers"]
    assert run(*words, code=0).stdout.endswith("Nothing leaks in what was checked.\n")
    (tmp_path / "lists" / "fold_1" / "test.txt").write_text(f"wavs/b3.wav\n{copy.path}\n")
    fold = in_json(*words, code=1)["fold_1"]
    assert kinds(fold) == ["shared-copy", "no-speakers"] and "a0.wav in train" in fold["problems"][0]["message"]
    assert "1 of 2" in run(*words, code=1).stdout
    assert kinds(in_json(*words, "--speaker-pattern", r"/(\w)\S*wav", code=1)["fold_1"])[0] == "shared-speaker"


def test_one_utterance_without_a_speaker_is_enough_for_a_warning(tmp_path):
    (tmp_path / "m.csv").write_text("path,label,speaker,split\na.wav,x,,train\nb.wav,x,bob,test\n")
    fold = in_json(tmp_path / "m.csv", code=0)["split"]
    assert kinds(fold) == ["no-validation", "no-speakers", "no-audio"]
    assert fold["problems"][1]["message"] == "not checked: 1 of 2 utterances lack a speaker (--speaker-pattern)"


def test_a_list_that_may_be_validation_or_test_is_refused(tmp_path):
    for part in ("train", "test", "eval"):
        (tmp_path / f"{part}.txt").write_text(f"{part}.wav\n")
    said = run(tmp_path, code=2).stderr
    assert f"{tmp_path / 'eval.txt'} may be validation or test: call the list valid or test" in said


@pytest.mark.parametrize(
    ("names", "speaker"),
    [
        (("1040_ITH_SAD_X", "1040_ITH_SAD_HI"), "'1040'"),
        (("Ses01F_impro01_F000", "Ses01M_script01_1_FXX012"), "'Ses01F'"),
    ],
)
def test_odd_names_of_known_corpora_have_their_speakers_too(tmp_path, names, speaker):
    for part, name in zip(("train", "test"), names, strict=True):
        (tmp_path / f"{part}.txt").write_text(f"{name}.wav\n")
    assert f"1 speaker of test is in train, too: {speaker}" in run(tmp_path, code=1).stdout


def test_audio_in_a_data_folder_is_found_by_the_end_of_its_path(tmp_path):
    for name in ("data/deep/ann/a.wav", "data/bob/a.wav"):  # the second one is as deep as the path in the list
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    (tmp_path / "lists").mkdir()
    for part, line in {"train": "cleo/b.wav", "test": "ann/a.wav"}.items():
        (tmp_path / "lists" / f"{part}.txt").write_text(line)
    (parts,) = read_splits(tmp_path / "lists", data_folder=tmp_path / "data").values()
    assert [u.path for u in parts["test"]] == [tmp_path / "data/deep/ann/a.wav"]


def test_a_column_of_a_manifest_is_a_split_or_folds(takes, tmp_path):
    rows = [
        f"{u.path},{u.label},{u.speaker},{part},{i % 4}"
        for i, (u, part) in enumerate(zip(takes, ["training", "dev", "test", "x"] * 2, strict=True))
    ]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["path,label,speaker,part,fold", *rows[:3]]) + "\n")
    assert kinds(in_json(table, "--column", "part", code=1)["part"]) == ["shared-speaker"]
    table.write_text("\n".join(["path,label,who,part,fold", *rows]) + "\n")

    def lists(name, content):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.txt").write_bytes(content)
        return tmp_path / name

    folds = in_json(table, "--columns", "speaker=who", code=1)
    assert [(name, folds[name]["parts"]["test"]["utterances"]) for name in folds] == [(x, 2) for x in "0123"]
    for words, says in (
        ((table, "--column", "flod"), "the column 'flod' is empty for utterance 'a0'. Did you mean 'fold'?"),
        ((table, "--speaker-pattern", "("), "is not a regular expression"),
        ((table, "--speaker-pattern", r"\d"), "a group, (...), has to hold the speaker"),
        ((table, "--column", "part"), "the column 'part' holds 'x' beside 'dev', 'test', 'training': name the parts"),
        ((tmp_path / "no.csv",), "No manifest at"),
        ((takes[0].path.parent,), "holds no list of a fold"),
        ((lists("empty", b"\n"),), "empty holds no list of a fold"),
        ((takes[0].path.parent, "--column", "part"), "--column part is a column of a manifest"),
        ((table, "--column", "fold", "--data_folder", tmp_path / "nowhere"), "nowhere does not exist"),
    ):
        done = run(*words, code=2)
        assert says in done.stderr and done.stderr.count("\n") == 1


def test_a_table_that_does_not_say_its_parts_is_told_to_name_it(tmp_path):
    (tmp_path / "m.csv").write_text("path,label,number,set\na.wav,x,1,train\nb.wav,x,2,Test\n")
    says = "m.csv: no column names the parts (split, fold or group): name it with --column"
    assert f"{says}\n" in run(tmp_path / "m.csv", code=2).stderr


def test_the_headings_of_eight_classes_two_genders_and_all_that_may_be_shared_stay_whole(takes, tmp_path):
    classes = ["angry", "calm", "disgust", "fearful", "happy", "neutral", "sad", "surprised"]
    rows = [
        f"{u.path},{label},{u.id},{'FM'[i % 2]},{part},word"
        for part, us in (("train", takes[:4]), ("test", takes[4:]))
        for i, (u, label) in enumerate(zip(us * 2, classes, strict=True))
    ]
    (tmp_path / "m.csv").write_text(
        "path,label,speaker,gender,split,text,id\n" + "".join(f"{r},{i}\n" for i, r in enumerate(rows))
    )
    heading = run(tmp_path / "m.csv", code=0).stdout.splitlines()[1:3]
    assert heading[1].split()[-8:] == classes and "utterances" in heading[1] and "sentences" in heading[1]
