"""From a recipe's file to a fold: where the data come from, targets, covariates, the check of the whole."""

import pytest
from small_system import write_recipe

from toolkit.corpus.targets import Target
from toolkit.errors import CorpusError, ProtocolError
from toolkit.training.preparation import check_source, load_source, prepare


def test_the_folder_is_the_argument_then_the_recipe_then_the_environment(tmp_path, monkeypatch):
    recipe = tmp_path / "r.yaml"
    text = write_recipe(tmp_path).read_text()
    start = text.index("protocol:")
    recipe.write_text("corpus: {plugin: iemocap}\ndata_folder: /of/recipe\n" + text[start:])
    monkeypatch.setenv("IEMOCAP_ROOT", "/of/environment")
    assert str(load_source(recipe, data_folder="/of/argument").folder) == "/of/argument"
    assert str(load_source(recipe).folder) == "/of/recipe"
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
    manifest = tmp_path / "other.csv"
    manifest.write_text("path,label,split\na.wav,x,train\nb.wav,y,train\nc.wav,y,valid\nd.wav,y,test\n")
    preparation = prepare(load_source(recipe, ["--protocol.name=given"], manifest=manifest))
    assert [u.id for u in preparation.part("test")] == ["d"]
    assert preparation.targets["label"].classes == ("x", "y")


def test_targets_beside_the_label_have_the_classes_of_the_whole_manifest(tmp_path):
    overrides = ["--model.heads.level.target=gender"]
    preparation = prepare(load_source(write_recipe(tmp_path), overrides))
    assert preparation.targets == Target.by_name({"label": ("noise", "tone"), "gender": ("F", "M")})
    indices = preparation.targets["gender"].indices(preparation.utterances)
    assert set(indices) == {0, 1}


def test_a_target_that_no_utterance_has_is_one_line(tmp_path):
    source = load_source(write_recipe(tmp_path), ["--model.heads.level.target=age"])
    with pytest.raises(CorpusError, match="needs 'age' of the utterances, and the corpus has no such column"):
        prepare(source)


def test_a_column_of_the_manifest_is_found_wherever_it_is_kept(tmp_path):
    manifest = tmp_path / "m.csv"
    manifest.write_text("path,label,speaker,room\na.wav,x,s1,kitchen\nb.wav,y,s2,\n")
    source = load_source(write_recipe(tmp_path), manifest=manifest)
    first, second = source.read()
    assert (first.value("speaker"), first.value("room"), second.value("room")) == ("s1", "kitchen", None)


def test_a_fold_that_is_not_there_is_named_with_those_that_are(tmp_path):
    with pytest.raises(ProtocolError, match=r"S11.*Folds are S1, S2, S3"):
        prepare(load_source(write_recipe(tmp_path), ["--fold=S11"]))


def test_the_check_finds_a_corpus_that_cannot_be_split(tmp_path):
    report = check_source(load_source(write_recipe(tmp_path, sessions=2)))
    assert report.stops
    assert [problem.kind for problem in report.problems] == ["protocol"]
    assert not check_source(load_source(write_recipe(tmp_path, sessions=3))).stops
