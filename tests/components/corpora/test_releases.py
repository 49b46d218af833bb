"""Corpora by name, read from folders with the layout and the names of their releases."""

from collections import Counter
from importlib import import_module

import pytest
from releases import EMODB, FILES, make_release
from small_system import RECIPE

from toolkit.corpus.protocols import UNKNOWN_SPEAKERS_STAMP, make_folds
from toolkit.errors import CorpusError, ProtocolError, RecipeError
from toolkit.training.preparation import load_source, prepare, prepare_folds
from toolkit_plugins.corpora import toolkit_register
from toolkit_plugins.corpora.audformat import Audformat
from toolkit_plugins.corpora.msp_podcast import MspPodcast

TARGETS = {spec.name: spec.target.split(":") for spec in toolkit_register()}


def corpus(name: str):
    module, cls = TARGETS[name]
    return getattr(import_module(module), cls)()


def read(name, folder):
    return {u.id: u for u in corpus(name).read(make_release(name, folder))}


def source(tmp_path, name, *overrides):
    """A small recipe on the corpus, whose folder is made if it is not there."""
    (tmp_path / "r.yaml").write_text(RECIPE % {"manifest": "none.csv", "output": tmp_path})
    folder = tmp_path / name
    if not folder.is_dir():
        make_release(name, folder)
    return load_source(tmp_path / "r.yaml", [f"--corpus.plugin={name}", *overrides], data_folder=folder)


def test_emodb_is_read_from_its_names(tmp_path):
    us = read("emodb", tmp_path)
    assert list(us) == sorted(EMODB)
    labels = ["happiness", "neutral", "anger", "sadness", "boredom", "fear", "disgust"]
    assert [us[name].label for name in sorted(EMODB)] == labels
    assert [(us[name].speaker, us[name].gender) for name in ("03a01Fa", "16b10Eb")] == [("03", "M"), ("16", "F")]
    assert us["08a02Tb"].extra == {"sentence": "a02"}


def test_crema_d_is_read_from_its_names_with_the_genders_of_its_table(tmp_path):
    us = read("crema_d", tmp_path)
    assert Counter(u.label for u in us.values()) == {"sad": 2, "anger": 1, "disgust": 1, "neutral": 1, "happy": 1}
    assert [us[f"{name}"].gender for name in ("1001_DFA_ANG_XX", "1091_IEO_HAP_MD")] == ["M", "F"]
    assert us["1040_ITH_SAD_X"].extra == {"sentence": "ITH", "intensity": "XX"}  # one name has one X
    (tmp_path / "VideoDemographics.csv").unlink()
    assert {u.gender for u in corpus("crema_d").read(tmp_path)} == {None}


@pytest.mark.parametrize(("name", "folds"), [("esc50", 5), ("urbansound8k", 10)])
def test_sounds_have_their_published_folds_and_no_others(tmp_path, name, folds):
    made = prepare_folds(source(tmp_path, name, "--protocol.name=groups"))
    assert [p.fold.name for p in made] == [str(fold) for fold in range(1, folds + 1)]
    assert {p.fold.stamp for p in made} == {None}  # of unknown speakers
    for protocol in ("random", "given"):
        with pytest.raises(ProtocolError, match=f"corpus '{name}' has folds of its own.*: give --protocol groups"):
            prepare(source(tmp_path, name, f"--protocol.name={protocol}"))
    with pytest.raises(ProtocolError, match="the corpus's own groups: leave k out"):
        prepare(source(tmp_path, name, "--protocol.name=groups", "--protocol.args.k=4"))


def test_sounds_are_read_from_their_tables(tmp_path):
    u = read("esc50", tmp_path / "esc")["3-100033-A-10"]
    assert (u.label, u.group, u.path) == ("rain", "3", tmp_path / "esc" / "audio" / "3-100033-A-10.wav")
    u = read("urbansound8k", tmp_path / "us")["1000032-3-0-0"]
    assert (u.label, u.group, u.start, u.end) == ("dog_bark", "10", None, None)
    assert u.path == tmp_path / "us" / "audio" / "fold10" / "1000032-3-0-0.wav"
    assert u.extra == {"recording": "1000032", "salience": "1"}


def test_speech_commands_are_split_by_their_lists(tmp_path):
    us = read("speech_commands", tmp_path)
    (fold,) = make_folds(list(us.values()), "given")
    assert (fold.valid, fold.stamp) == (("no/439c84f4_nohash_0",), None)
    assert set(fold.test) == {"yes/3cfc6b3a_nohash_0", "no/3cfc6b3a_nohash_0"}
    assert {us[i].speaker for i in fold.train} == {"0a7c2a8d"} and len(us) == 6


def test_a_list_of_speech_commands_may_be_in_utf_16_and_one_that_is_not_text_is_named(tmp_path):
    us = read("speech_commands", tmp_path)
    file = tmp_path / "testing_list.txt"
    file.write_text(file.read_text(), encoding="utf-16")
    assert {u.id: u for u in corpus("speech_commands").read(tmp_path)} == us
    file.write_bytes(b"\xff")
    with pytest.raises(CorpusError, match=r"testing_list\.txt: cannot be read as UTF-8 text: "):
        corpus("speech_commands").read(tmp_path)


def test_msp_podcast_has_its_partitions_and_unknown_speakers_are_none(tmp_path):
    us = read("msp_podcast", tmp_path)
    assert [u.split for u in us.values()] == ["test", "test", "valid", "train", "train"]
    unknown = us["MSP-PODCAST_0153_0190"]
    assert (unknown.label, unknown.speaker, unknown.gender) == ("anger", None, None)
    assert unknown.path == tmp_path / "Audios" / "MSP-PODCAST_0153_0190.wav"
    assert unknown.extra == {"activation": "5.2", "valence": "2.6", "dominance": "5.0"}
    assert us["MSP-PODCAST_0023_0048"].label == "no agreement"
    (fold,) = make_folds(list(us.values()), "given")
    assert fold.stamp == UNKNOWN_SPEAKERS_STAMP
    second = MspPodcast(test="Test2").read(tmp_path)
    assert [u.id for u in second if u.split == "test"] == ["MSP-PODCAST_1188_0001"]
    table = tmp_path / "Labels" / "labels_consensus.csv"
    for old, new, says in [
        (",N,", ",Q,", "csv:2: EmoClass 'Q' is not known"),
        ("Test1", "Tset1", "'Tset1' is not known"),
    ]:
        text = table.read_text()
        table.write_text(text.replace(old, new))
        with pytest.raises(CorpusError, match=says):
            MspPodcast().read(tmp_path)
        table.write_text(text)
    with pytest.raises(RecipeError, match="test"):
        source(tmp_path, "msp_podcast", "--corpus.args.test=Test3")


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # audformat with pandas 3
def test_a_database_in_audformat_has_its_labels_speakers_and_splits(tmp_path, monkeypatch):
    pytest.importorskip("audformat")
    us = read("audformat", tmp_path)
    assert Counter(u.split for u in us.values()) == {"train": 2, "valid": 2, "test": 2, None: 2}
    found = [(u.label, u.speaker, u.gender) for u in (us[f"wav/{name}"] for name in ("train0", "test0", "test1"))]
    assert found == [("anger", "1", "F"), ("anger", "3", None), ("joy", "4", None)]
    assert {u.speaker for u in us.values() if u.path.name == "long.wav"} == {None}
    assert [(u.start, u.end) for u in us.values() if u.path.name == "long.wav"] == [(None, 1.5), (1.5, 4.0)]
    monkeypatch.setenv("HOME", str(tmp_path))
    one = Audformat(tables=["test"], label="speaker").read("~")
    assert {u.label for u in one} == {"3", "4"}
    for args, says in [
        ({"tables": ["tset"]}, "no table 'tset'; found .*Did you mean 'test'"),
        ({"label": "mood"}, "no row has a label of scheme 'mood'; found schemes emotion, speaker"),
    ]:
        with pytest.raises(CorpusError, match=says):
            Audformat(**args).read(tmp_path)


@pytest.mark.filterwarnings("ignore:The inplace keyword")
def test_a_database_in_audformat_that_cannot_be_read_is_one_line(tmp_path):
    audformat = pytest.importorskip("audformat")
    db = audformat.Database("db")
    db.schemes["emotion"] = audformat.Scheme(labels=["anger", "joy"])
    for name, label in (("first", "anger"), ("second", "joy")):  # two raters
        db[name] = audformat.Table(audformat.filewise_index(["a.wav"]))
        db[name]["emotion"] = audformat.Column(scheme_id="emotion")
        db[name]["emotion"].set([label])
    db.save(str(tmp_path))
    with pytest.raises(CorpusError, match=r"labels cannot be read; choose their tables .* \(ValueError: .*overlap"):
        Audformat().read(tmp_path)
    assert [u.label for u in Audformat(tables=["second"]).read(tmp_path)] == ["joy"]
    for text in ("", "- a\n", "a: [\n"):
        (tmp_path / "db.yaml").write_text(text)
        with pytest.raises(CorpusError, match="cannot be read as a database"):
            Audformat().read(tmp_path)


@pytest.mark.parametrize("name", [*FILES, "iemocap", "ravdess"])
def test_a_folder_that_is_not_there_or_is_another_says_what_is_expected_and_where_to_get_it(tmp_path, name):
    plugin = corpus(name)
    (tmp_path / "notes.txt").touch()
    for folder, says in [
        (None, f"{plugin.title} needs --data_folder or {plugin.environment}: the folder with "),
        (tmp_path / "nowhere", f"No folder {tmp_path}/nowhere; "),
        (tmp_path, f"{tmp_path} is not {plugin.title}: it holds notes.txt; expected the folder with"),
    ]:
        with pytest.raises(CorpusError) as caught:
            plugin.read(folder)
        message = str(caught.value)
        assert says in message and message.endswith(plugin.source) and "\n" not in message


@pytest.mark.parametrize("name", FILES)
def test_a_release_is_found_in_the_folder_that_holds_it_and_two_are_refused(tmp_path, name):
    plugin = corpus(name)
    assert plugin.read(make_release(name, tmp_path / "a")) == plugin.read(tmp_path)
    make_release(name, tmp_path / "b")
    with pytest.raises(CorpusError, match=rf"{plugin.title} was found twice, .*/a/.* and .*/b/.*: name one"):
        plugin.read(tmp_path)


def test_a_file_of_another_name_is_named(tmp_path):
    make_release("emodb", tmp_path)
    (tmp_path / "wav" / "03a01Xa.wav").touch()
    with pytest.raises(CorpusError, match=r"03a01Xa\.wav is not named as EmoDB names its files"):
        corpus("emodb").read(tmp_path)


def test_a_corpus_that_is_not_whole_is_warned_of(tmp_path):
    folder, options = tmp_path / "emodb" / "wav", ("emodb", "--protocol.name=groups", "--protocol.args.k=5")
    folder.mkdir(parents=True)
    names = [f"{who}a{n:02d}{'WLEAFTN'[n % 7]}a" for n in range(54) for who in ("03", "08", "09", *range(10, 17))]
    for name in names[:535]:
        (folder / f"{name}.wav").touch()
    assert prepare(source(tmp_path, *options)).warnings == []
    (folder / f"{names[0]}.wav").unlink()
    (problem,) = prepare(source(tmp_path, *options, "--label_map={boredom: null}")).warnings
    assert (problem.kind, problem.where) == ("size", "emodb")
    assert problem.message == "534 utterances were read; the whole corpus has 535"
