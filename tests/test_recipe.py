import json
import random

import pytest

from toolkit.errors import RecipeError
from toolkit.field_checks import RESERVED
from toolkit.recipe import (
    CovariateSpec,
    GroupSpec,
    LevelSpec,
    Recipe,
    TrainingSpec,
    dump_recipe,
    find_recipe,
    load_recipe,
    read_recipe_dict,
)
from toolkit.references import arithmetic

BASE = """
corpus: {plugin: iemocap}
protocol: {name: loso}
labels: [ang, hap, neu, sad]
label_map: {exc: hap, fru: null}
model:
  levels:
    mfcc: {plugin: mfcc, args: {n_mfcc: 40, hop: 160}}
    wav2vec2: {plugin: wav2vec2}
  fusion: {plugin: coattention, args: {dim: 64}}
  heads:
    emotion: {plugin: mlp, on: fused, target: label, args: {hidden: [128]}}
  losses:
    classification: {plugin: cross_entropy, on: "*"}
training:
  max_grad_norm: 5.0
  optimizer: {learning_rate: 1e-5}
"""


@pytest.fixture
def write(tmp_path):
    def to(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    to("base.yaml", BASE)
    return to


@pytest.fixture
def child(write):
    """Load a recipe that extends the base."""

    def load(text="", *overrides, **options):
        return load_recipe(write("child.yaml", f"extends: base.yaml\n{text}"), overrides, **options)

    return load


def refused(message):
    return pytest.raises(RecipeError, match=message)


# --- what a recipe holds ---------------------------------------------------------------------------------------------


def test_a_recipe_is_frozen_values_with_defaults(write):
    recipe = load_recipe(write("base.yaml", BASE))
    assert recipe.name == "base"
    assert recipe.model.levels["mfcc"] == LevelSpec(plugin="mfcc", args={"n_mfcc": 40, "hop": 160})
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
        "training: {epochs: 3}\nmodel:\n  levels:\n    mfcc: {args: {hop: 80}}", "--model.fusion.args.x", "1"
    )
    assert str(recipe.where.child("training", "epochs")) == "training.epochs in child.yaml, line 2"
    level = recipe.model.levels["mfcc"]
    assert str(level.where.child("args", "hop")) == "model.levels.mfcc.args.hop in child.yaml, line 5"
    assert str(level.where.child("args", "n_mfcc")) == "model.levels.mfcc.args.n_mfcc in base.yaml, line 8"
    assert str(recipe.model.fusion.where.child("args", "x")) == "model.fusion.args.x on the command line"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trainin: {}", r"^trainin in child\.yaml, line 2: there is no such key\. Did you mean 'training'\?"),
        ("training: {epoch: 3}", r"^training\.epoch in child\.yaml, line 2: .* Did you mean 'epochs'\?"),
        ("training: {groups: {mfcc: {lr: 1}}}", r"^training\.groups\.mfcc\.lr in"),
        ("model: {levels: {mfcc: {arg: {}}}}", r"^model\.levels\.mfcc\.arg in .* Did you mean 'args'\?"),
        ("model: {losses: {classification: {wieght: 1}}}", "Did you mean 'weight'"),
        ("without_data: {training: {epoch: 3}}", r"^training\.epoch in child\.yaml"),
        (
            "training: {epochs: many}",
            r"^training\.epochs in child\.yaml, line 2: 'many' is text; a whole number is needed",
        ),
        ("training: {epochs: 3.5}", "3.5 is a number; a whole number"),
        ("training: {epochs: true}", "a truth value"),
        ("training: 3", r"^training in child\.yaml, line 2: 3 is a whole number; a mapping is needed"),
        ("training: {schedule: linar}", "Did you mean 'linear'"),
        ("model: {fusion: concat}", r"Write \{plugin: concat\}"),
        ("labels: ang", "a list of texts"),
        ("labels: [1, 2]", "value 1 of the list: 1 is a whole number; text is needed"),
        ("labels: [ang]", "at least two"),
        ("labels: [ang, ang]", "all different"),
        ("label_map: {exc: hapy}", r"^label_map\.exc in child\.yaml.*Did you mean 'hap'"),
        ("name: a/b", "names folders"),
        ("seed: -1", r"seed .* must be at least 0, not -1"),
        ("audio: {segment_seconds: 0}", "at least one sample"),
        ("training: {epochs: 0}", r"^training\.epochs in child\.yaml, line 2: must be at least 1, not 0\."),
        ("training: {max_grad_norm: -1}", "above 0, or null for no clipping"),
        ("training: {optimizer: {learning_rate: -1}}", r"training\.optimizer\.learning_rate .*at least 0"),
        ("training: {groups: {mfc: {}}}", r"^training\.groups\.mfc .*no such parameter group\. Did you mean 'mfcc'"),
        ("predict_from: emotions", "no such head. Did you mean 'emotion'"),
        ("model: {heads: {emotion: {on: wav2vec}}}", r"^model\.heads\.emotion\.on .*Did you mean 'wav2vec2'"),
        ("model: {losses: {classification: {on: fuse}}}", "no such head or embedding. Did you mean 'fused'"),
        ("model: {losses: {classification: {on: [emotion, x]}}}", "names 'x'"),
        ("model: {losses: {classification: {on: []}}}", "names nothing"),
        ("model: {levels: {train: {plugin: mfcc}}}", r"model\.levels\.train .*'train' is reserved"),
        ("model: {levels: {fused: {plugin: mfcc}}}", "reserved"),
        ("model: {levels: {heads: {plugin: mfcc}}}", "reserved"),
        ("model: {heads: {keys: {plugin: mlp}}}", "reserved"),
        ("model: {losses: {forward: {plugin: center, on: fused}}}", "reserved"),
        ("model: {levels: {a.b: {plugin: mfcc}}}", "is no name"),
        ("model: {levels: {x: {}}}", r"^model\.levels\.x\.plugin .*: this key is missing; text is needed"),
        ("model: {losses: null}", r"model\.losses.*missing; a mapping is needed"),
        ("model: {covariates: {gender: {source: label, level: mfcc}}}", "goes with source: predicted only"),
        ("model: {covariates: {gender: {source: predicted}}}", r"model\.covariates\.gender\.level .*is needed"),
        ("model: {covariates: {gender: {source: predicted, level: x}}}", "no such level"),
        ("model: {covariates: {gender: {source: guessed}}}", "is not one of 'label', 'predicted', 'shuffled'"),
    ],
)
def test_what_does_not_fit_is_one_line_with_key_file_and_line(child, text, message):
    with refused(message) as error:
        child(text)
    assert "\n" not in str(error.value)


def test_reserved_names_are_those_that_torch_reserves():
    from torch import nn

    assert {name for name in dir(nn.ModuleDict()) if not name.startswith("_")} <= RESERVED


def test_a_missing_part_is_named(write):
    with refused(r"^protocol in \S+ line 1|^protocol: this key is missing; a mapping is needed"):
        load_recipe(write("x.yaml", "corpus: {plugin: iemocap}"))


def test_a_predicted_covariate_has_a_weight_and_the_others_have_none(child):
    recipe = child("model: {covariates: {gender: {source: predicted, level: wav2vec2}}}")
    assert recipe.model.covariates["gender"] == CovariateSpec(source="predicted", level="wav2vec2", weight=0.1)
    assert CovariateSpec(source="label").weight is None


def test_a_fold_may_be_written_as_a_number(child):
    assert child("fold: 1").fold == "1"


# --- extends ---------------------------------------------------------------------------------------------------------


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
    assert recipe.model.levels == {"mfcc": LevelSpec(plugin="mfcc", args={"n_mfcc": 40})}


def test_null_of_a_key_with_a_default_is_the_default(child):
    assert child("training: {optimizer: null}").training.optimizer.name == "adamw"


def test_null_is_a_value_where_it_means_something(child):
    recipe = child("training: {max_grad_norm: null}\nlabel_map: {exc: null}")
    assert recipe.training.max_grad_norm is None
    assert recipe.label_map == {"exc": None, "fru": None}


def test_an_argument_may_be_null_where_nothing_is_inherited(child):
    assert child("model: {fusion: {args: {heads: null}}}").model.fusion.args == {"dim": 64, "heads": None}


def test_null_for_what_is_not_there_is_a_mistake(child):
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


def test_small_settings_are_merged_at_their_own_files_level(write):
    small = "without_data: {training: {epochs: 2, batch_size: 4}, model: {levels: {wav2vec2: {plugin: tiny}}}}"
    write("base.yaml", f"{BASE}\n{small}")
    path = write("c.yaml", "extends: base.yaml\ntraining: {batch_size: 16}\nwithout_data: {seed: 9}")
    assert load_recipe(path).training.epochs == 100
    recipe = load_recipe(path, data_available=False)
    assert (recipe.training.epochs, recipe.training.batch_size, recipe.seed) == (2, 16, 9)
    assert recipe.model.levels["wav2vec2"].plugin == "tiny"
    assert recipe.training.max_grad_norm == 5.0


# --- references ------------------------------------------------------------------------------------------------------


def args_of(recipe):
    return recipe.model.fusion.args


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
        ('!ref "<labels[1]>"', "hap"),
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
        ("!ref <trainin.epochs>", r"^child\.yaml, line 2, column \d+: .* finds nothing\. Did you mean 'training'"),
        ("!ref <training.epoch>", "finds nothing"),
        ("!ref <model.fusion.args.v>", "leads back to itself"),
        ("!ref <seed> / 0", "cannot be computed"),
        ("!ref <seed> * 9 ** 9 ** 9", "cannot be computed"),
        ("!ref <labels>-x", "no text and no number"),
        ("!ref <audio.segment_samples>", "finds nothing"),
    ],
)
def test_references_that_fail_say_where(child, text, message):
    with refused(message):
        child(f"model: {{fusion: {{args: {{v: {text}}}}}}}")


def test_a_reference_to_a_mapping_is_a_copy(child):
    recipe = child('model: {fusion: {args: {a: !ref "<model[levels][mfcc][args]>"}}}')
    assert args_of(recipe)["a"] is not recipe.model.levels["mfcc"].args


def test_an_included_files_references_look_into_that_file(child, write):
    write("part.yaml", "a: 1\nb: !ref <a> + 1\nc: {d: !ref <b> * 10}")
    recipe = child("model: {fusion: {args: {p: !include:part.yaml {a: 5}}}}")
    assert args_of(recipe)["p"] == {"a": 5, "b": 6, "c": {"d": 60}}


def test_a_placeholder_must_be_filled(child, write):
    write("base.yaml", BASE.replace("{dim: 64}", "{dim: !PLACEHOLDER }"))
    with refused(r"^model\.fusion\.args\.dim in base\.yaml, line 10: .*--model\.fusion\.args\.dim VALUE"):
        child()
    assert args_of(child("", "--model.fusion.args.dim=3")) == {"dim": 3}


def test_arithmetic_agrees_with_python():
    generator = random.Random(1)
    for _ in range(200):
        text = f"{generator.randint(1, 99)}"
        for _ in range(4):
            text = f"({text}) {generator.choice(['+', '-', '*', '/', '//', '%'])} {generator.randint(1, 99) / 4}"
        assert arithmetic(text) == eval(text)
    for text in ("a", "1 if 2 else 3", "().__class__", "1,2", "[1]", "1 == 1", "1" * 2000):
        with pytest.raises(SyntaxError):
            arithmetic(text)


# --- code ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tag", ["!apply:os.mkdir [{made}]", "!!python/object/apply:os.mkdir [{made}]", "!new:os.mkdir "]
)
def test_code_is_refused_in_files_bases_includes_and_overrides(child, write, tmp_path, tag):
    made = tmp_path / "made"
    code = tag.format(made=made)
    write("part.yaml", f"x: {code}")
    for text, overrides in [
        (f"model: {{fusion: {{args: {{v: {code} }}}}}}", ()),
        ("model: {fusion: {args: !include:part.yaml }}", ()),
        (f"without_data: {{output_folder: {code}}}", ()),
        ("", ("--model.fusion.args.v", code)),
        ("", (f"--output_folder={code}",)),
        ("", (f"--model={{fusion: {{args: {{v: {code} }}}}}}",)),
        ("", ("--model.fusion.args", "!include:part.yaml")),
    ]:
        with refused("--trust-recipe"):
            child(text, *overrides)
    write("base.yaml", f"{BASE}\noutput_folder: {code}")
    with refused("--trust-recipe"):
        child()
    assert not made.exists()


def test_trusted_code_runs_and_gives_plain_values(child):
    recipe = child(
        "model:\n  fusion:\n    args:\n      path: !apply:os.path.join [a, !ref <name>]\n"
        "      size: !apply:len [[1, 2, 3]]\n      pair: !!python/tuple [1, 2]\n"
        "      inner: !apply:os.path.join [a, !apply:str.upper [b]]",
        trust=True,
    )
    assert args_of(recipe) == {"dim": 64, "path": "a/child", "size": 3, "pair": [1, 2], "inner": "a/B"}


def test_trusted_code_that_fails_or_gives_an_object_is_refused(child):
    with refused(r"!apply:os\.mkdir failed: FileNotFoundError"):
        child("model: {fusion: {args: {v: !apply:os.mkdir [/no/such/folder/x]}}}", trust=True)
    with refused(r"!!python/name:os\.getcwd gives a builtin_function"):
        child("model: {fusion: {args: {v: !!python/name:os.getcwd }}}", trust=True)


# --- overrides -------------------------------------------------------------------------------------------------------


def test_overrides_reach_any_depth(child):
    recipe = child(
        "",
        "--model.fusion.args.dim",
        "64",
        "--training.epochs=3",
        "--training.optimizer.learning_rate=1e-4",
        "--model.levels.mfcc.args.new",
        "[1, two]",
        "--fold=01",
        "--data_folder",
        "/data/set #1",
        "--seed",
        "7",
        "--training.groups.wav2vec2.learning_rate",
        "1e-6",
        "--labels=[a, hap]",
        "--audio",
        "{sample_rate: 8000, tail: equal}",
    )
    assert args_of(recipe) == {"dim": 64}
    assert recipe.training.epochs == 3
    assert recipe.training.optimizer.learning_rate == 1e-4
    assert recipe.model.levels["mfcc"].args == {"n_mfcc": 40, "hop": 160, "new": [1, "two"]}
    assert (recipe.fold, recipe.data_folder, recipe.seed) == ("01", "/data/set #1", 7)
    assert recipe.training.groups == {"wav2vec2": GroupSpec(learning_rate=1e-6)}
    assert recipe.labels == ("a", "hap")
    assert (recipe.audio.sample_rate, recipe.audio.tail, recipe.audio.segment_seconds) == (8000, "equal", 3.0)


def test_overrides_may_be_pairs_and_the_last_one_holds(write):
    path = write("c.yaml", "extends: base.yaml")
    assert load_recipe(path, [("training.epochs", "3"), ("training.epochs", "4")]).training.epochs == 4
    assert load_recipe(path, {"seed": "4"}.items()).seed == 4


def test_short_names_mean_the_long_ones(child):
    recipe = child("", "--protocol", "session-out", "--device=cpu", "--precision", "bf16")
    assert (recipe.protocol.name, recipe.training.device, recipe.training.precision) == ("session-out", "cpu", "bf16")


def test_an_override_of_a_plugin_drops_the_arguments_whatever_the_order(child):
    for order in (1, -1):
        pairs = [("model.fusion.plugin", "concat"), ("model.fusion.args.x", "1")][::order]
        recipe = child("", *pairs)
        assert (recipe.model.fusion.plugin, args_of(recipe)) == ("concat", {"x": 1})
    assert child("", "--model.fusion.plugin=some-dist:mfcc").model.fusion.plugin == "some-dist:mfcc"


def test_an_override_with_null_removes_or_sets_null(child):
    recipe = child(
        "",
        "--model.levels.wav2vec2",
        "null",
        "--training.max_grad_norm=null",
        "--model.fusion.args.dim=~",
        "--fold=null",
    )
    assert list(recipe.model.levels) == ["mfcc"]
    assert (recipe.training.max_grad_norm, args_of(recipe), recipe.fold) == (None, {}, None)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["--training.epoch", "3"], r"^--training\.epoch: .* Did you mean 'training\.epochs'\?"),
        (["--epochs", "3"], r"Did you mean 'training\.epochs'"),
        (["--learning_rate", "3"], r"Did you mean 'training\.optimizer\.learning_rate'"),
        (["--batch-size", "3"], r"Did you mean 'training\.batch_size'"),
        (["--training.batch", "3"], r"Did you mean 'training\.batch_size'"),
        (["--tr.epochs", "3"], r"Did you mean 'training\.epochs'"),
        (["--model.levels.mfc.args.n_mfcc", "3"], r"Did you mean 'model\.levels\.mfcc\.args\.n_mfcc'"),
        (["--model.heads.emotions.on", "fused"], r"Did you mean 'model\.heads\.emotion\.on'"),
        (["--model.levels", "{mfc: {plugin: x}}"], r"^--model\.levels\.mfc: "),
        (["--model.fusion.arg.dim", "3"], r"Did you mean 'model\.fusion\.args\.dim'"),
        (["--model.fusion", "{arg: 3}"], r"^--model\.fusion\.arg: "),
        (["--training.epochs.x", "3"], r"^--training\.epochs\.x: "),
        (["--data-folder", "x"], "Did you mean 'data_folder'"),
        (["--zzz", "3"], "no such key"),
        (["--extends", "x"], "stands in recipe files only"),
        (["--without_data.seed", "3"], "stands in recipe files only"),
        (["--training.epochs"], r"^--training\.epochs has no value"),
        (["--training.epochs", "--seed", "3"], r"^--training\.epochs has no value"),
        (["--training.epochs="], "has no value"),
        (["training.epochs=3"], r"Write --training\.epochs=3"),
        (["-s", "3"], "'-s' belongs to no option"),
        (["--training.epochs", "[1"], r"^--training\.epochs on the command line: expected"),
        (["--training.epochs", "many"], r"^training\.epochs on the command line: 'many' is text"),
        (["--training.max_grad_norm", "-1"], "above 0"),
        (["--", "x"], "belongs to no option"),
    ],
)
def test_a_wrong_override_is_refused_with_the_nearest_key(child, tokens, message):
    with refused(message) as error:
        child("", *tokens)
    assert "\n" not in str(error.value)


# --- finding and writing -----------------------------------------------------------------------------------------


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


def test_a_recipe_that_is_not_there_is_told_what_is_near(write, tmp_path, monkeypatch):
    write("recipes/hparams/mtl_cr.yaml", BASE)
    monkeypatch.chdir(tmp_path)
    with refused(r"^No recipe mtlcr\.yaml in .*recipes.hparams and .*\. Did you mean '.*mtl_cr\.yaml'\?"):
        find_recipe("hparams/mtlcr.yaml", tmp_path / "recipes")
    with refused(r"Did you mean '.*hparams.mtl_cr\.yaml'"):
        find_recipe("mtl_cr", tmp_path / "recipes")
    with refused(r"There are: .*base\.yaml"):
        find_recipe("zzz.yaml", tmp_path)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with refused("There is no recipe near"):
        find_recipe("/nowhere/zzz.yaml")


def test_a_written_recipe_reads_as_the_same_recipe(child, write):
    odd = [
        "on",
        "no",
        "1e3",
        "007",
        "null",
        "~",
        "!ref x",
        "(1,2)",
        "a: b",
        "#x",
        "",
        "<x>",
        "2020-01-01",
        "true",
        "ä",
        "=",
        "<<",
    ]
    recipe = child(
        f"model:\n  covariates: {{gender: {{source: predicted, level: mfcc}}}}\n"
        f"  losses: {{center: {{plugin: center, on: [fused, mfcc]}}}}\n"
        f"  fusion: {{args: {{odd: {json.dumps(odd)}, small: 1e-5, none: null, nested: {{a: [1, {{b: 2}}]}}}}}}",
        "--fold=1F",
    )
    text = dump_recipe(recipe)
    again = load_recipe(write("again/other_name.yaml", text))
    assert again == recipe
    assert list(again.model.levels) == ["mfcc", "wav2vec2"]
    assert dump_recipe(again) == text
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
    with pytest.raises(ValueError, match="epochs must be at least 1, not 0"):
        TrainingSpec(epochs=0)
    with pytest.raises(RecipeError, match=r"^bundle\.json: corpus: this key is missing"):
        read_recipe_dict({"name": "x"}, source="bundle.json")
    assert Recipe.__dataclass_params__.frozen
