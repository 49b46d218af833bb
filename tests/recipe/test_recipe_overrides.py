"""What the command line may change, and that no recipe runs code."""

import pytest
from recipe_files import BASE, args_of, refused

from toolkit.recipe.training import GroupSpec


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
    assert args_of(child("model: {fusion: {args: {text: (1)}}}"))["text"] == "(1)", "later recipes are read as ever"


def test_trusted_code_that_fails_or_gives_an_object_is_refused(child):
    with refused(r"!apply:os\.mkdir failed: FileNotFoundError"):
        child("model: {fusion: {args: {v: !apply:os.mkdir [/no/such/folder/x]}}}", trust=True)
    with refused(r"!!python/name:os\.getcwd gives a builtin_function"):
        child("model: {fusion: {args: {v: !!python/name:os.getcwd }}}", trust=True)


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


def test_the_last_of_several_values_holds(child):
    assert child("", "--training.epochs", "3", "--training.epochs=4").training.epochs == 4


def test_short_names_mean_the_long_ones(child):
    recipe = child("", "--protocol", "session-out", "--device=cpu", "--precision", "bf16")
    assert (recipe.protocol.name, recipe.training.device, recipe.training.precision) == ("session-out", "cpu", "bf16")
    for order in (1, -1):
        assert child("", *["--protocol=groups", "--protocol.args.k=3"][::order]).protocol.args == {"k": 3}


def test_an_override_of_a_plugin_drops_the_arguments_whatever_the_order(child):
    for order in (1, -1):
        recipe = child("", *["--model.fusion.plugin=concat", "--model.fusion.args.x=1"][::order])
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
        (["--model.levels", "{mfc: {plugi: x}}"], r"^model\.levels\.mfc\.plugi on the command line: .*'plugin'"),
        (["--model.fusion.arg.dim", "3"], r"Did you mean 'model\.fusion\.args\.dim'"),
        (["--model.fusion", "{arg: 3}"], r"^model\.fusion\.arg on the command line: .*Did you mean 'args'"),
        (["--training.epochs.x", "3"], r"^--training\.epochs\.x: "),
        (["--data-folder", "x"], "Did you mean 'data_folder'"),
        (["--training.optimizer.lr", "1"], r"Did you mean 'training\.optimizer\.learning_rate'"),
        (["--model.heads.label.args.shrinkage", "1"], r"Did you mean 'model\.heads\.emotion\.args"),
        (["--corpus.arg.path", "x"], r"Did you mean 'corpus\.args'"),
        (["--model.levels.whisper.args.tune", "x"], "a recipe has no such key"),
        (["--zzz", "3"], r"no such key\.$"),
        (["--extends", "x"], "a recipe has no such key"),
        (["--without_data.seed", "3"], "a recipe has no such key"),
        (["--training.epochs"], r"^--training\.epochs has no value"),
        (["--training.epochs", "--seed", "3"], r"^--training\.epochs has no value"),
        (["--training.epochs="], "has no value"),
        (["training.epochs=3"], "'training.epochs=3' belongs to no option"),
        (["-s", "3"], "'-s' belongs to no option"),
        (["--training.epochs", "[1"], r"^--training\.epochs on the command line: expected"),
        (["--training.epochs", "many"], r"^training\.epochs on the command line: 'many' is text"),
        (["--training.max_grad_norm", "-1"], "above 0"),
        (["--", "x"], "belongs to no option"),
    ],
)
def test_a_wrong_override_is_refused_with_the_nearest_key(child, tokens, message):
    with refused(message) as error:
        child("label_map: {_silence_: null}", *tokens)
    assert "\n" not in str(error.value)
