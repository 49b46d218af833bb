"""Recipes that extend others, and references between their keys."""

import random

import pytest
from recipe_files import BASE, args_of, refused

from toolkit.recipe.loading import load_recipe
from toolkit.recipe.schema import CovariateSpec, PartSpec
from toolkit.recipe.yaml_files import arithmetic


def test_a_child_says_only_what_differs(child):
    recipe = child("model: {heads: {mfcc: {plugin: mlp, on: mfcc}}}\npredict_from: emotion\ntraining: {epochs: 7}")
    assert list(recipe.model.heads) == ["emotion", "mfcc"]
    assert recipe.model.heads["emotion"].args == {"hidden": [128]}
    assert (recipe.training.epochs, recipe.training.max_grad_norm) == (7, 5.0)
    assert recipe.name == "child"


def test_lists_are_replaced_and_not_joined(child):
    assert child("model: {heads: {emotion: {args: {hidden: [8, 8]}}}}").model.heads["emotion"].args == {
        "hidden": [8, 8]
    }


def test_null_removes_what_is_inherited(child):
    recipe = child("model: {levels: {wav2vec2: null, mfcc: {args: {hop: null}}}}")
    assert recipe.model.levels == {"mfcc": PartSpec(plugin="mfcc", args={"n_mfcc": 40})}


def test_null_of_a_key_with_a_default_is_the_default(child):
    assert child("training: {optimizer: null}").training.optimizer.name == "adamw"
    assert child("name: null").name == child("", "--name=null").name == "child"


def test_null_is_a_value_where_it_means_something(child):
    recipe = child("training: {max_grad_norm: null}\nlabel_map: {exc: null}")
    assert recipe.training.max_grad_norm is None
    assert recipe.label_map == {"exc": None, "fru": None}


def test_an_argument_may_be_null_where_nothing_is_inherited(child):
    assert child("model: {fusion: {args: {heads: null}}}").model.fusion.args == {"dim": 64, "heads": None}


def test_null_for_a_missing_part_is_refused(child):
    with refused(
        r"^model\.levels\.wav2vec in child\.yaml.*nothing of this name is inherited\. Did you mean 'wav2vec2'"
    ):
        child("model: {levels: {wav2vec: null}}")


def test_a_changed_plugin_drops_the_arguments_and_keeps_the_rest(child):
    recipe = child(
        "model:\n  fusion: {plugin: concat}\n  heads: {emotion: {plugin: linear}}\n"
        "  levels: {mfcc: {plugin: nlinear, args: {window: 3}}}"
    )
    assert recipe.model.fusion.args == {}
    assert (recipe.model.heads["emotion"].args, recipe.model.heads["emotion"].on) == ({}, "fused")
    assert recipe.model.levels["mfcc"].args == {"window": 3}


def test_the_same_plugin_again_keeps_the_arguments(child):
    assert child("model: {fusion: {plugin: coattention, args: {x: 1}}}").model.fusion.args == {"dim": 64, "x": 1}


@pytest.mark.parametrize("name", ["audio-classification-toolkit:coattention", "coattention"])
def test_a_distribution_before_a_plugins_name_keeps_the_arguments_unless_it_is_another(name, child, write):
    write("base.yaml", BASE.replace("{plugin: coattention", f"{{plugin: '{name}'"))
    full = "audio-classification-toolkit:coattention"
    assert child("", f"--model.fusion.plugin={full}").model.fusion == PartSpec(plugin=full, args={"dim": 64})
    changed = child("", "--model.fusion.plugin=mine:coattention").model.fusion.args
    assert changed == ({"dim": 64} if name == "coattention" else {})


def test_a_key_called_plugin_inside_arguments_means_nothing(child, write):
    write("base.yaml", BASE.replace("{dim: 64}", "{plugin: a, args: 1, source: x, level: 2}"))
    args = child("model: {fusion: {args: {plugin: b, source: y}}}").model.fusion.args
    assert args == {"plugin": "b", "args": 1, "source": "y", "level": 2}


def test_a_changed_protocol_drops_its_arguments_and_a_changed_source_what_went_with_it(write):
    predicted = BASE.replace("name: loso", "name: groups, args: {n: 6}").replace(
        "  fusion:", "  covariates: {gender: {source: predicted, level: mfcc, weight: 0.5}}\n  fusion:"
    )
    write("base.yaml", predicted)
    path = write("c.yaml", "extends: base.yaml\nprotocol: {name: loso}\nmodel: {covariates: {gender: {source: label}}}")
    recipe = load_recipe(path)
    assert recipe.protocol.args == {}
    assert recipe.model.covariates["gender"] == CovariateSpec(source="label")


def test_a_changed_optimizer_or_schedule_drops_its_arguments(write):
    settings = "schedule: {name: linear, args: {end: 0.1}}\n  groups: {mfcc: {name: sgd, args: {momentum: 0.9}}}\n  max"
    base = BASE.replace("max", settings).replace("learning_rate: 1e-5", "learning_rate: 1e-5, args: {amsgrad: true}")
    write("base.yaml", base)
    kept = load_recipe(write("c.yaml", "extends: base.yaml\ntraining: {optimizer: {name: adamw, learning_rate: 1}}"))
    assert kept.training.optimizer.args == {"amsgrad": True}, "adamw is the default, and so it is the same"
    changed = "training: {optimizer: adam, schedule: cosine, groups: {mfcc: {name: rmsprop}}}"
    training = load_recipe(write("d.yaml", f"extends: base.yaml\n{changed}")).training
    assert (training.optimizer.args, training.schedule.args, training.groups["mfcc"].args) == ({}, {}, {})
    assert training.optimizer.learning_rate == 1e-5


def test_chains_are_relative_to_the_extending_file(write):
    write("shared/middle.yaml", "extends: ../base.yaml\ntraining: {epochs: 7, batch_size: 8}")
    path = write("own/last.yaml", "extends: ../shared/middle.yaml\ntraining: {batch_size: 4}")
    recipe = load_recipe(path)
    assert (recipe.training.epochs, recipe.training.batch_size, recipe.name) == (7, 4, "last")


def test_circles_and_missing_bases_are_refused(write):
    write("a.yaml", "extends: b.yaml")
    with refused(r"in a circle: b\.yaml -> a\.yaml -> b\.yaml"):
        load_recipe(write("b.yaml", "extends: a.yaml"))
    with refused(r"^extends in c\.yaml, line 1: no file bas\.yaml beside c\.yaml\. Did you mean '.*base\.yaml'"):
        load_recipe(write("c.yaml", "extends: bas.yaml"))
    with refused("the name of one file is needed"):
        load_recipe(write("d.yaml", "extends: [a, b]"))
    with refused(r"^extends in e\.yaml, line 1: no file .* Did you mean 'ravdess/multilevel'"):
        load_recipe(write("e.yaml", "extends: multilevel"))


def test_small_settings_are_merged_at_their_own_files_level(write):
    small = "without_data: {training: {epochs: 2, batch_size: 4}, model: {levels: {wav2vec2: {plugin: tiny}}}}"
    write("base.yaml", f"{BASE}\n{small}")
    path = write("c.yaml", "extends: base.yaml\ntraining: {batch_size: 16}\nwithout_data: {seed: 9}")
    assert load_recipe(path).training.epochs == 100
    recipe = load_recipe(path, data_available=False)
    assert (recipe.training.epochs, recipe.training.batch_size, recipe.seed) == (2, 16, 9)
    assert recipe.model.levels["wav2vec2"].plugin == "tiny"
    assert recipe.training.max_grad_norm == 5.0


def test_references_are_looked_up_after_the_merge(child, write):
    write(
        "base.yaml",
        BASE.replace("{dim: 64}", "{dim: !ref <training.batch_size> * 2}").replace("max", "batch_size: 8\n  max"),
    )
    assert args_of(child()) == {"dim": 16}
    assert args_of(child("training: {batch_size: 5}")) == {"dim": 10}
    assert args_of(child("", "--training.batch_size", "7")) == {"dim": 14}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("!ref <labels>", ["ang", "hap", "neu", "sad"]),
        ('!copy "<model[levels][mfcc][args]>"', {"n_mfcc": 40, "hop": 160}),
        ("!ref <training.max_grad_norm>", 5.0),
        ("!ref <training.batch_size>", 64),
        ("!ref <audio.sample_rate> // 100", 160),
        ("!ref -<training.batch_size> + 1", -63),
        ("!ref (<training.batch_size> + 1) * 2", 130),
        ("!ref <corpus.plugin>-<training.batch_size>", "iemocap-64"),
        ("!ref <name>/<seed>", "child/1"),
        ("!ref results/<name>", "results/child"),
        ("!ref plain text", "plain text"),
        ("!ref <model.levels.mfcc.args.n_mfcc>.<seed>", "40.1"),
    ],
)
def test_references_give_values_text_and_arithmetic(child, text, value):
    recipe = child(f"seed: 1\nmodel: {{fusion: {{args: {{v: {text}}}}}}}")
    assert args_of(recipe)["v"] == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("!ref <trainin.epochs>", r"^in child\.yaml, line 2: .* finds nothing\. Did you mean 'training'"),
        ("!ref <training.epoch>", "finds nothing"),
        ("!ref <model.fusion.args.v>", "leads back to itself"),
        ("!ref <seed> / 0", "cannot be computed"),
        ("!ref <seed> * 1e308 * 10", "cannot be computed"),
        ("!ref <labels>-x", "is neither text nor a number"),
        ("!ref <audio.segment_samples>", "finds nothing"),
    ],
)
def test_references_that_fail_say_where(child, text, message):
    with refused(message):
        child(f"model: {{fusion: {{args: {{v: {text}}}}}}}")


def test_an_included_files_references_look_into_that_file(child, write):
    write("part.yaml", "a: 1\nb: !ref <a> + 1\nc: {d: !ref <b> * 10}")
    recipe = child("model: {fusion: {args: {p: !include:part.yaml {a: 5}}}}")
    assert args_of(recipe)["p"] == {"a": 5, "b": 6, "c": {"d": 60}}


def test_changed_keys_of_an_included_file_follow_the_rules_of_extends(child, write):
    write("small.yaml", "patience: 3\nepochs: 9\noptimizer: {name: sgd, args: {momentum: 0.9}, learning_rate: 1.0}")
    changes = "{patience: null, epochs: null, optimizer: {name: adam}}"
    for text in (
        f"training: !include:small.yaml {changes}",
        f"without_data: {{training: !include:small.yaml {changes}}}",
    ):
        training = child(text, data_available=False).training
        assert (training.patience, training.epochs, training.max_grad_norm) == (None, 100, 5.0)
        assert (training.optimizer.name, training.optimizer.args, training.optimizer.learning_rate) == ("adam", {}, 1.0)
    assert child("", f"--training=!include:small.yaml {changes}").training.patience is None


def test_single_keys_of_what_a_reference_gives_are_not_changed(child, write):
    write("base.yaml", BASE.replace("{dim: 64}", "!ref <model.levels.mfcc.args>"))
    assert args_of(child()) == {"n_mfcc": 40, "hop": 160}
    problem = "its keys cannot be changed, since !ref gives them in base.yaml, line 10: write the whole mapping there"
    with refused(rf"^model\.fusion\.args in child\.yaml, line \d+: {problem}"):
        child("model: {fusion: {args: {dim: 3}}}")
    with refused(rf"^model\.fusion\.args on the command line: {problem}"):
        child("", "--model.fusion.args.dim=3")
    assert child("model: {fusion: concat}").model.fusion.args == {}


def test_a_placeholder_must_be_filled(child, write):
    write("base.yaml", BASE.replace("{dim: 64}", "{dim: !PLACEHOLDER }"))
    with refused(r"^model\.fusion\.args\.dim in base\.yaml, line 10: .*--model\.fusion\.args\.dim VALUE"):
        child()
    assert args_of(child("", "--model.fusion.args.dim=3")) == {"dim": 3}


def test_arithmetic_agrees_with_python():
    generator = random.Random(1)
    for _ in range(200):
        text = f"{generator.choice(['', '-', '(-', ' ( -'])}({generator.randint(-99, 99)})"
        text += ")" * (text.count("(") - text.count(")"))
        for _ in range(4):
            text = text if generator.random() < 0.5 else f"({text})"
            text = f"{text} {generator.choice(['+', '-', '*', '/', '//', '%'])} {generator.randint(1, 99) / 4}"
        assert arithmetic(text) == eval(text)
    others = ("a", "1 if 2 else 3", "().__class__", "1,2", "[1]", "1 == 1", "1" * 2000, "2 ** 3", "'a' * 3", "-" * 999)
    for text in others:
        assert arithmetic(text) is None


@pytest.mark.parametrize("next_one", ["[{0}]", "!ref {1}"])
def test_references_that_multiply_are_bounded(child, next_one):
    keys = ["a0: x"]
    for number in range(1, 10):
        pointer = f"<model.fusion.args.a{number - 1}>"
        keys.append(f"a{number}: " + next_one.format(", ".join([f"!ref {pointer}"] * 10), pointer * 10))
    with refused("references give this recipe more than 100000 values"):
        child("model:\n  fusion:\n    args:\n      " + "\n      ".join(keys))
