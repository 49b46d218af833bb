"""From a recipe's file to a fold: where the data come from, targets, covariates, the check of the whole."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from small_system import write_recipe
from throwaway import good, install

from toolkit.cli.options import read_source
from toolkit.corpus.targets import Target
from toolkit.errors import CorpusError, ProtocolError
from toolkit.plugins.registry import default_registry
from toolkit.training.data_check import check_source
from toolkit.training.preparation import SHARED_AUDIO, load_source, prepare
from toolkit.training.run import Run


def test_the_folder_is_the_argument_then_the_recipe_then_the_environment(tmp_path, monkeypatch):
    recipe = tmp_path / "r.yaml"
    text = write_recipe(tmp_path).read_text()
    start = text.index("protocol:")
    of_recipe, of_argument = tmp_path / "of_recipe", tmp_path / "of_argument"
    recipe.write_text(f"corpus: {{plugin: iemocap}}\ndata_folder: {of_recipe}\n" + text[start:])
    monkeypatch.setenv("IEMOCAP_ROOT", "/of/environment")
    with pytest.raises(CorpusError, match=f"The data folder {of_recipe} does not exist"):
        load_source(recipe)
    of_recipe.mkdir()
    of_argument.mkdir()
    assert load_source(recipe, data_folder=of_argument).folder == of_argument
    assert load_source(recipe).folder == of_recipe
    assert str(load_source(recipe, ["--data_folder=null"]).folder) == "/of/environment"


def test_without_data_the_recipes_small_settings_replace_the_large_ones(tmp_path, monkeypatch):
    monkeypatch.delenv("IEMOCAP_ROOT", raising=False)
    recipe = tmp_path / "r.yaml"
    text = write_recipe(tmp_path).read_text()
    small = "without_data: {corpus: {plugin: synthetic}, training: {epochs: 1}}\n"
    recipe.write_text("corpus: {plugin: iemocap}\n" + text[text.index("protocol:") :] + small)
    source = load_source(recipe)
    assert (source.recipe.corpus.plugin, source.recipe.training.epochs) == ("synthetic", 1)
    source = load_source(recipe, data_folder=tmp_path)
    assert (source.recipe.corpus.plugin, source.recipe.training.epochs) == ("iemocap", 3)


def test_a_recipe_with_a_manifest_of_its_own_keeps_its_settings(tmp_path):
    base = write_recipe(tmp_path)
    base.write_text(base.read_text() + "without_data: {corpus: {plugin: synthetic}, training: {epochs: 1}}\n")
    own = tmp_path / "own.yaml"
    own.write_text(f"extends: {base.name}\ncorpus: {{plugin: manifest, args: {{path: own.csv}}}}\n")
    source = load_source(own)
    assert (source.recipe.corpus.plugin, source.recipe.training.epochs, source.reduced) == ("manifest", 3, False)


def test_a_manifest_replaces_the_recipes_corpus(tmp_path):
    recipe = write_recipe(tmp_path)
    manifest = tmp_path / "other \N{GRINNING FACE}.csv"
    manifest.write_text("path,label,split\na.wav,x,train\nb.wav,y,train\nc.wav,y,valid\nd.wav,y,test\n")
    preparation = prepare(load_source(recipe, ["--protocol.name=given"], manifest=manifest))
    assert [u.id for u in preparation.part("test")] == ["d"]
    assert preparation.targets["label"].classes == ("x", "y")


def test_the_columns_of_a_table_stand_in_the_resolved_recipe(tmp_path):
    recipe, table = write_recipe(tmp_path), tmp_path / "other.tsv"
    table.write_text("file\tsound\tpart\na\tx\ttrain\nb\ty\ttrain\nc\ty\tvalid\nd\ty\ttest\n")
    columns = {"path": "{file}.wav", "label": "sound", "split": "part"}
    words = [str(recipe), "--protocol.name=given"]
    source = read_source(words, manifest=str(table), columns=columns)
    assert source.recipe.as_dict()["corpus"]["args"] == {"path": str(table), "columns": columns}
    (u,) = prepare(source).part("test")
    assert (u.path, u.label) == (tmp_path / "d.wav", "y")


def test_targets_beside_the_label_have_the_classes_of_the_whole_manifest(tmp_path):
    overrides = ["--model.heads.level.target=gender"]
    preparation = prepare(load_source(write_recipe(tmp_path), overrides))
    assert preparation.targets == Target.by_name({"label": ("noise", "tone"), "gender": ("F", "M")})
    indices = preparation.targets["gender"].indices(preparation.utterances)
    assert set(indices) == {0, 1}


def test_a_target_that_no_utterance_has_is_one_line(tmp_path):
    source = load_source(write_recipe(tmp_path), ["--model.heads.level.target=age"])
    with pytest.raises(CorpusError, match="needs 'age' of the utterances, and the corpus has none; it has"):
        prepare(source)


def test_a_column_of_the_manifest_is_found_wherever_it_is_kept(tmp_path):
    manifest = tmp_path / "m.csv"
    manifest.write_text("path,label,speaker,room\na.wav,x,s1,kitchen\nb.wav,y,s2,\n")
    source = load_source(write_recipe(tmp_path), manifest=manifest)
    first, second = source.read()
    assert (first.value("speaker"), first.value("room"), second.value("room")) == ("s1", "kitchen", None)


def test_the_changes_of_a_command_hold_what_its_references_stand_for(tmp_path):
    given = ["--training.patience", "!ref <training.min_epochs>", "--training.min_epochs=7", "--seed=2"]
    changes = load_source(write_recipe(tmp_path), given).changes
    assert changes == {"training": {"patience": 7, "min_epochs": 7}, "seed": 2}


def test_the_home_folder_may_be_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    assert load_source(write_recipe(tmp_path), data_folder="~/data").folder == tmp_path / "data"
    assert load_source(write_recipe(tmp_path), manifest="~/my.csv").corpus.path == str(tmp_path / "my.csv")


def test_a_fold_that_is_not_there_is_named_with_those_that_are(tmp_path):
    with pytest.raises(ProtocolError, match=r"S11.*Folds are S1, S2, S3"):
        prepare(load_source(write_recipe(tmp_path), ["--fold=S11"]))


def test_the_check_finds_a_corpus_that_cannot_be_split(tmp_path):
    report = check_source(load_source(write_recipe(tmp_path, sessions=2)))
    assert report.stops
    assert [problem.kind for problem in report.problems] == ["protocol"]
    assert not check_source(load_source(write_recipe(tmp_path, sessions=3))).stops


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--training.batch_seconds=0.3", "batch_seconds is 0.3, and a segment of"),
        ("--training.precision=fp16", "training.precision is 'fp16', which needs a GPU"),
        ("--training.device=cuda:99", "training.device is 'cuda:99', and torch finds"),
        ("--training.init_from=/nowhere.zip", "No bundle at /nowhere.zip"),
        ("--training.groups.mfcc.layer_decay=0.9", "mfcc has no layers of pre-trained weights"),
    ],
)
def test_the_check_finds_what_would_stop_a_training_when_it_begins(tmp_path, option, says):
    options = ["--audio.segment_seconds=1", "--training.device=cpu", option]
    problems = check_source(load_source(write_recipe(tmp_path), options)).problems
    assert [says in problem.message for problem in problems] == [True] and problems[0].severity == "error"


def test_a_class_without_utterances_is_reported_once(tmp_path):
    problems = check_source(load_source(write_recipe(tmp_path), ["--labels=[noise, tone, zzz]"])).problems
    assert [problem.kind for problem in problems] == ["empty-class"]


def with_column(tmp_path, column, values):
    """A recipe whose manifest has one more column, with these values in turn."""
    recipe = write_recipe(tmp_path)
    manifest = tmp_path / "corpus" / "manifest.csv"
    header, *rows = manifest.read_text().splitlines()
    rows = [f"{row},{values[i % len(values)]}" for i, row in enumerate(rows)]
    manifest.write_text("\n".join([f"{header},{column}", *rows]) + "\n")
    return recipe


NUMBERS = """0.2;0.9|1.5;2;x|0;1;2;3;4;5;6;7;8;9;10;11;12;13;14;15;16;17;18;19;20
\u22120.2;\u20130.7|10%;20 %|1/2;3/4
1e-1;2E-1|"1,5";"2,5"|nan;inf|+.5;5.25|2 000.5;2 001"""


@pytest.mark.parametrize("values", [values.split(";") for values in re.split("[|\n]", NUMBERS)])
def test_a_target_of_numbers_has_to_be_asked_for(tmp_path, values):
    recipe, head = with_column(tmp_path, "valence", values), "--model.heads.level.target=valence"
    with pytest.raises(CorpusError, match=r"'valence' holds numbers .* give --numbers_as_classes valence"):
        prepare(load_source(recipe, [head]))
    asked = prepare(load_source(recipe, [head, "--numbers_as_classes", "valence"]))
    written = sorted(value.strip('"') for value in values)
    assert asked.targets["valence"].classes == tuple(written) and not asked.warnings


@pytest.mark.parametrize(
    "values", [("20-30", "30-40"), ("<20", ">20"), ("10dB", "20dB"), ("1st", "2nd"), ("two", "one")]
)
def test_names_with_digits_in_them_are_not_numbers(tmp_path, values):
    recipe = with_column(tmp_path, "group_of", values)
    assert not prepare(load_source(recipe, ["--model.heads.level.target=group_of"])).warnings


def test_a_few_whole_numbers_are_classes_and_a_note_says_so(tmp_path):
    recipe = with_column(tmp_path, "code", ["0", "7.0", "\u22123"])
    preparation = prepare(load_source(recipe, ["--model.heads.level.target=code"]))
    assert preparation.targets["code"].classes == ("0", "7.0", "\u22123")
    (problem,) = preparation.warnings
    assert (problem.kind, problem.where) == ("numbers", "code") and "each is a class of its own" in problem.message


def test_nan_among_names_may_stand_for_a_missing_value(tmp_path):
    recipe = with_column(tmp_path, "mood", ["glad", "NaN", "sad"])
    (problem,) = prepare(load_source(recipe, ["--model.heads.level.target=mood"])).warnings
    assert problem.kind == "numbers" and problem.message == "'mood' holds 'NaN', which may stand for a missing value"


def test_labels_that_are_numbers_may_be_listed(tmp_path):
    recipe = write_recipe(tmp_path)
    manifest = tmp_path / "corpus" / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(",tone,", ",0.2,").replace(",noise,", ",0.9,"))
    with pytest.raises(CorpusError, match="'label' holds numbers"):
        prepare(load_source(recipe))
    assert prepare(load_source(recipe, ["--labels", "['0.2', '0.9']"])).targets["label"].classes == ("0.2", "0.9")


def test_one_person_under_two_spellings_is_refused_until_the_recipe_joins_or_parts_them(tmp_path):
    recipe = write_recipe(tmp_path)
    manifest = tmp_path / "corpus" / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(",1F,F,", ",2f,F,"))  # S1's woman is S2's
    with pytest.raises(ProtocolError, match=r"'2F' in valid and '2f' in test, which differ only in case"):
        prepare(load_source(recipe))
    with pytest.raises(ProtocolError, match="1 of 2 speakers of test is in valid, too: '2F';"):
        prepare(load_source(recipe, ["--normalize"]))
    assert len(prepare(load_source(recipe, ["--normalize", "false"])).utterances) == 24


@pytest.mark.parametrize("text", ["a\0b", "a\udcffb"], ids=["NUL", "not UTF-8"])
def test_names_that_a_runs_files_cannot_hold_are_refused_when_the_corpus_is_read(tmp_path, text):
    source = load_source(write_recipe(tmp_path))
    first, *others = source.read()
    for name, value in {"session": text, "path": Path(f"/{text}.wav"), "extra": {"word": text}}.items():
        corpus = SimpleNamespace(read=Mock(return_value=[*others, replace(first, **{name: value})]))
        with pytest.raises(CorpusError, match=r"(session|path|word) '\S+' holds a NUL or a byte that is not UTF-8"):
            replace(source, corpus=corpus).read()


def test_the_check_finds_what_would_stop_a_training_of_the_recipe(tmp_path):
    recipe = write_recipe(tmp_path)
    assert not check_source(load_source(recipe)).stops
    for override, says in [
        ("--model.levels.mfcc.plugin=mfc", "Did you mean 'mfcc'"),
        ("--model.levels.mfcc.args.n_mfc=3", "n_mfc"),
        ("--model.levels.mfcc.args.n_mfcc=-1", "n_mfcc"),
        ("--model.losses.center.on=emotion", "reads an embedding"),
        ("--training.probe.epochs=2", "no level here trains any"),
        ("--training.epochs=0", "trains nothing"),
    ]:
        (problem,) = check_source(load_source(recipe, [override])).problems
        assert problem.severity == "error" and says in problem.message


LEVELS = """
from broken_extractors import GoodExtractor

class Raises(GoodExtractor):
    fits = False

    def encode(self, features):
        raise KeyError("lost")

class NeedsItsFit(GoodExtractor):
    def __init__(self):
        super().__init__()
        self.fitted = False

    def fit(self, features):
        self.fitted = True

    def encode(self, features):
        assert self.fitted
        return super().encode(features)
"""


def test_the_check_runs_the_system_once_unless_a_plugin_has_to_be_fitted_first(tmp_path, monkeypatch):
    installed = tmp_path / "installed"
    install(installed, "raising", good("extractor", "raises", "own_levels:Raises"), files={"own_levels.py": LEVELS})
    install(installed, "fitting", good("extractor", "fits", "own_levels:NeedsItsFit"))
    monkeypatch.syspath_prepend(installed)
    default_registry.cache_clear()
    sources = {
        name: load_source(write_recipe(tmp_path), [f"--model.levels.mfcc.plugin={name}"]) for name in ("raises", "fits")
    }
    (problem,) = check_source(sources["raises"]).problems
    assert problem.severity == "error" and not check_source(sources["fits"]).problems
    assert "extractor 'raises' from raising 1.0: `encode` raised KeyError: 'lost' (" in problem.message
    default_registry.cache_clear()


def test_the_same_audio_in_two_parts_stops_the_check_and_the_training(tmp_path):
    recipe, corpus = write_recipe(tmp_path), tmp_path / "corpus"
    (corpus / "2M1.wav").write_bytes((corpus / "1F1.wav").read_bytes())
    (problem,) = [p for p in check_source(load_source(recipe)).problems if p.severity == "error"]
    assert problem.kind == "shared-audio" and "1F1.wav" in problem.message and "2M1.wav" in problem.message
    preparation = prepare(load_source(recipe))
    with pytest.raises(CorpusError, match=r"2M1.wav \(speaker '2M'\) in valid and .*1F1.wav \(speaker '1F'\) in test"):
        Run(preparation, say=lambda line: None).train()
    allowed = load_source(recipe, ["--shared_audio", "allow"])
    assert not check_source(allowed).stops and prepare(allowed).stamps == (SHARED_AUDIO,)


def test_the_check_compares_the_audio_of_a_fold_that_is_refused_for_its_speakers(tmp_path):
    recipe, corpus = write_recipe(tmp_path), tmp_path / "corpus"
    manifest = corpus / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(",1F,F,", ",2F,F,"))  # S1's woman is S2's
    (corpus / "2M1.wav").write_bytes((corpus / "1F1.wav").read_bytes())
    problems = check_source(load_source(recipe)).problems
    assert [problem.kind for problem in problems if problem.severity == "error"] == ["protocol", "shared-audio"]
    assert "duplicate" not in [problem.kind for problem in problems]
