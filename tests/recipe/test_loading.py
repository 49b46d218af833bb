"""What a recipe holds, and how it is found and written."""

import json

import pytest
from recipe_files import BASE, args_of, refused

from toolkit.errors import RecipeError
from toolkit.recipe.loading import dump_yaml, find_recipe, load_recipe, read_recipe_dict
from toolkit.recipe.schema import CovariateSpec, HeadSpec, PartSpec, Recipe
from toolkit.recipe.training import TrainingSpec


def test_a_recipe_is_frozen_values_with_defaults(write):
    recipe = load_recipe(write("base.yaml", BASE))
    assert recipe.name == "base"
    assert recipe.model.levels["mfcc"] == PartSpec(plugin="mfcc", args={"n_mfcc": 40, "hop": 160})
    assert (recipe.training.batch_size, recipe.training.optimizer.learning_rate) == (64, 1e-5)
    assert (recipe.audio.segment_seconds, recipe.audio.segment_samples, recipe.audio.tail) == (3.0, 48000, "weighted")
    assert recipe.model.losses["classification"].on == "*"
    assert recipe.labels == ("ang", "hap", "neu", "sad")
    assert recipe.label_map == {"exc": "hap", "fru": None}
    assert (recipe.seed, recipe.fold, recipe.output_folder) == (1, None, "results")
    with pytest.raises(AttributeError):
        recipe.seed = 2


def test_the_only_head_gives_the_answer_and_several_must_be_chosen_from(child):
    assert child().predict_from == "emotion"
    with refused(r"^predict_from.*: is needed: which of emotion, mfcc gives the answer\?"):
        child("model: {heads: {mfcc: {plugin: mlp, on: mfcc}}}")


def test_every_value_knows_its_file(child):
    recipe = child(
        "training: {optimizer: sgd}\nmodel:\n  levels:\n    mfcc: {args: {hop: 80}}", "--model.fusion.args.x", "1"
    )
    assert str(recipe.training.optimizer.where) == "training.optimizer in child.yaml, line 2"
    level = recipe.model.levels["mfcc"]
    assert str(level.where.child("args", "hop")) == "model.levels.mfcc.args.hop in child.yaml, line 5"
    assert str(level.where.child("args", "n_mfcc")) == "model.levels.mfcc.args.n_mfcc in base.yaml, line 8"
    assert str(recipe.model.fusion.where.child("args", "x")) == "model.fusion.args.x on the command line"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trainin: {}", r"^trainin in child\.yaml, line 2: unknown key\. Did you mean 'training'\?"),
        ("training: {epoch: 3}", r"^training\.epoch in child\.yaml, line 2: .* Did you mean 'epochs'\?"),
        ("training: {groups: {mfcc: {lr: 1}}}", r"^training\.groups\.mfcc\.lr in"),
        ("model: {levels: {mfcc: {arg: {}}}}", r"^model\.levels\.mfcc\.arg in .* Did you mean 'args'\?"),
        ("model: {losses: {classification: {wieght: 1}}}", "Did you mean 'weight'"),
        (
            "training: {epochs: many}",
            r"^training\.epochs in child\.yaml, line 2: 'many' is text; a whole number is needed",
        ),
        ("training: {epochs: 3.5}", "3.5 is a number; a whole number"),
        ("training: {epochs: true}", "a truth value"),
        ("training: 3", r"^training in child\.yaml, line 2: 3 is a whole number; a mapping is needed"),
        ("training: {schedule: linar}", "Did you mean 'linear'"),
        ("training: {schedule: {name: linear, arg: {}}}", r"^training\.schedule\.arg .*Did you mean 'args'"),
        ("training: {groups: {mfcc: {name: sdg}}}", r"^training\.groups\.mfcc\.name .*Did you mean 'sgd'"),
        ("labels: ang", "a list or null is needed"),
        ("labels: [1, 2]", "value 1 of the list: 1 is a whole number; text is needed"),
        ("labels: [ang]", "at least two"),
        ("labels: [ang, ang]", "all different"),
        ("label_map: {exc: hapy}", r"^label_map\.exc in child\.yaml.*Did you mean 'hap'"),
        ("name: a/b", "names folders"),
        ("name: _a", "names folders"),
        ("seed: -1", r"seed .* must be at least 0, not -1"),
        ("audio: {segment_seconds: 0}", "at least a sample and at most 262.1 at 16000 Hz, not 0"),
        ("training: {epochs: -1}", r"^training\.epochs in child\.yaml, line 2: must be at least 0, not -1\."),
        ("training: {max_grad_norm: -1}", "above 0, or null for no clipping"),
        ("training: {optimizer: {learning_rate: -1}}", r"training\.optimizer\.learning_rate .*at least 0"),
        ("training: {groups: {mfc: {}}}", r"^training\.groups\.mfc .*an unknown parameter group\. Did you mean 'mfcc'"),
        ("numbers_as_classes: [labels]", "names 'labels', an unknown target or covariate. Did you mean 'label'"),
        ("predict_from: emotions", "an unknown head. Did you mean 'emotion'"),
        ("model: {heads: {emotion: {on: wav2vec}}}", r"^model\.heads\.emotion\.on .*Did you mean 'wav2vec2'"),
        ("model: {heads: {emotion: {on: [fused, x]}}}", r"^model\.heads\.emotion\.on .*names 'x'"),
        (
            "model: {heads: {emotion: {on: []}}}",
            r"^model\.heads\.emotion\.on .*at least one embedding, each once, not \[\]",
        ),
        ("model: {losses: {classification: {on: fuse}}}", "an unknown head or embedding. Did you mean 'fused'"),
        ("model: {losses: {classification: {on: [emotion, x]}}}", "names 'x'"),
        ("model: {losses: {classification: {on: [mfcc, mfcc]}}}", r"on .*each once, not \['mfcc', 'mfcc'\]"),
        ("model: {levels: {fused: {plugin: mfcc}}}", r"model\.levels\.fused .*'fused' is reserved"),
        ("model: {levels: {heads: {plugin: mfcc}}}", "reserved"),
        ("model: {heads: {type: {plugin: linear}}}", r"model\.heads\.type .*'type' is reserved"),
        ("model: {covariates: {note: {source: label}}}", "reserved"),
        ("model: {heads: {emotion: {target: note}}}", r"model\.heads\.emotion\.target .*column 'note' is reserved"),
        ("model: {losses: {classification: {target: note}}}", r"classification\.target .*column 'note' is reserved"),
        ("model: {levels: {a.b: {plugin: mfcc}}}", "is not a name"),
        ("model: {levels: {x: {}}}", r"^model\.levels\.x\.plugin .*: this key is missing; text is needed"),
        ("model: {losses: null}", r"model\.losses.*missing; a mapping is needed"),
        ("model: {covariates: {gender: {source: label, level: mfcc}}}", "goes with source: predicted only"),
        ("model: {covariates: {gender: {source: predicted}}}", r"model\.covariates\.gender\.level .*is needed"),
        ("model: {covariates: {gender: {source: predicted, level: x}}}", "an unknown level"),
        ("model: {covariates: {gender: {source: guessed}}}", "is not one of 'label', 'predicted', 'shuffled'"),
    ],
)
def test_what_does_not_fit_is_one_line_with_key_file_and_line(child, text, message):
    with refused(message) as error:
        child(text)
    assert "\n" not in str(error.value)


def test_small_settings_are_checked_when_they_are_used(child):
    with refused(r"^training\.epoch in child\.yaml, line 2: .* Did you mean 'epochs'"):
        child("without_data: {training: {epoch: 3}}", data_available=False)


def test_a_missing_part_is_named(write):
    with refused(r"^protocol\.name in x\.yaml: this key is missing; text is needed"):
        load_recipe(write("x.yaml", "corpus: {plugin: iemocap}"))


def test_a_part_may_be_written_as_its_name_alone(child, write):
    recipe = child("protocol: groups\ntraining: {schedule: cosine, optimizer: sgd}\nmodel: {heads: {emotion: linear}}")
    assert (recipe.protocol.name, recipe.training.schedule.name, recipe.training.optimizer.name) == (
        "groups",
        "cosine",
        "sgd",
    )
    assert recipe.model.heads["emotion"] == HeadSpec(plugin="linear"), "another plugin's arguments are dropped"
    assert str(recipe.training.schedule.where.child("name")) == "training.schedule.name in child.yaml, line 3"
    older = recipe.as_dict()
    older["training"]["schedule"] = "cosine"
    assert read_recipe_dict(older) == recipe


def test_a_predicted_covariate_has_a_weight_and_the_others_have_none(child):
    recipe = child("model: {covariates: {gender: {source: predicted, level: wav2vec2}}}")
    assert recipe.model.covariates["gender"] == CovariateSpec(source="predicted", level="wav2vec2", weight=0.1)
    assert CovariateSpec(source="label").weight is None


def test_a_fold_may_be_written_as_a_number(child):
    assert child("fold: 1").fold == "1"


def test_a_recipe_is_looked_for_beside_the_script_then_in_the_working_directory(write, tmp_path, monkeypatch):
    beside = write("recipes/hparams/a.yaml", BASE)
    here = write("work/hparams/a.yaml", BASE)
    only = write("work/b.yaml", BASE)
    monkeypatch.chdir(tmp_path / "work")
    assert find_recipe("hparams/a.yaml", tmp_path / "recipes") == beside
    assert find_recipe("hparams/a.yaml").resolve() == here
    assert find_recipe("b.yaml", tmp_path / "recipes").resolve() == only
    assert find_recipe(beside, tmp_path / "work") == beside
    assert load_recipe("hparams/a.yaml", search_folder=tmp_path / "recipes").name == "a"


def test_a_missing_recipe_is_refused_with_the_nearest(write, tmp_path, monkeypatch):
    write("recipes/hparams/mtl_cr.yaml", BASE)
    monkeypatch.chdir(tmp_path)
    with refused(r"^No recipe mtlcr\.yaml in .*recipes.hparams and .*\. Did you mean '.*mtl_cr\.yaml'\?"):
        find_recipe("hparams/mtlcr.yaml", tmp_path / "recipes")
    with refused(r"Did you mean '.*hparams.mtl_cr\.yaml'"):
        find_recipe("mtl_c", tmp_path / "recipes")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with refused("`toolkit list-recipes` lists the toolkit's own"):
        find_recipe("/nowhere/zzz.yaml")


def test_anything_but_a_recipe_file_is_refused_with_what_is_needed(write, tmp_path):
    write("empty.yaml", "# nothing yet\n")
    write("named.yaml", "seed: 3\n")
    write("README.md", "# Recipes\n")
    with refused(r"^empty\.yaml: a mapping is needed, with keys such as 'model:'\."):
        load_recipe(tmp_path / "empty.yaml")
    with refused(r"^corpus\.plugin in named\.yaml: this key is missing"):
        load_recipe(tmp_path / "named.yaml")
    with refused(r"^README\.md: a mapping is needed"):
        load_recipe(tmp_path / "README.md")
    with refused(r"test_anything_but_a_recipe.* is a folder, not a recipe\."):
        load_recipe(tmp_path)


def test_a_written_recipe_reads_as_the_same_recipe(child, write):
    odd = ["on", "no", "1e3", "007", "null", "~", "!ref x", "(1,2)"]
    odd += ["a: b", "#x", "", "<x>", "2020-01-01", "true", "ä", "=", "<<"]
    recipe = child(
        f"model:\n  covariates: {{gender: {{source: predicted, level: mfcc}}}}\n"
        f"  losses: {{center: {{plugin: center, on: [fused, mfcc]}}}}\n"
        f"  fusion: {{args: {{odd: {json.dumps(odd)}, small: 1e-5, none: null, nested: {{a: [1, {{b: 2}}]}}}}}}",
        "--fold=1F",
    )
    text = dump_yaml(recipe.as_dict())
    again = load_recipe(write("again/other_name.yaml", text))
    assert again == recipe
    assert list(again.model.levels) == ["mfcc", "wav2vec2"]
    assert dump_yaml(again.as_dict()) == text
    assert read_recipe_dict(json.loads(json.dumps(recipe.as_dict()))) == recipe
    assert args_of(again)["odd"] == odd


def test_a_resolved_recipe_is_plain(child):
    def check(value):
        assert type(value) in (dict, list, str, int, float, bool, type(None))
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            check(inner)

    check(child("", "--model.fusion.args.a", "{b: [1]}").as_dict())
    check(dict(args_of(child("", "--model.fusion.args.a", "{b: [1]}"))))


def test_a_recipe_cannot_be_made_wrong_by_hand():
    with pytest.raises(ValueError, match="batch_size must be at least 1, not 0"):
        TrainingSpec(batch_size=0)
    with pytest.raises(RecipeError, match=r"^corpus in bundle\.json: this key is missing; a mapping is needed"):
        read_recipe_dict({"name": "x"}, source="bundle.json")
    assert Recipe.__dataclass_params__.frozen
