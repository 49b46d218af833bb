"""Limits on what a recipe may ask for; a refusal is one line with the key."""

import pytest

from toolkit.errors import RecipeError
from toolkit.plugins.registry import find_part
from toolkit.recipe import yaml_files


def refusal(load, *args) -> str:
    with pytest.raises(RecipeError) as caught:
        load(*args)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 600
    return text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("audio: {sample_rate: 67108864}", "audio.sample_rate in child.yaml, line 2: must be at most 768,000"),
        ("audio: {sample_rate: 15485863}", "must be at most 768,000, not 15,485,863"),
        ("audio: {segment_seconds: 1e308}", "and at most 262.1 at 16000 Hz"),
        ("training: " + "{a: " * 100 + "1" + "}" * 100, "nested more than 50 deep"),
        ("#" * 2_000_000, "a recipe has at most 262,144"),
        ("model: {heads: {" + ", ".join(f"h{i}: {{plugin: linear}}" for i in range(101)) + "}}", "100 are allowed"),
    ],
)
def test_numbers_sizes_and_depth(text, message, child):
    assert message in refusal(child, text)


def test_files_that_include_each_other_ten_times(child, write, monkeypatch):
    monkeypatch.setattr(yaml_files, "MOST_VALUES", 1_000)  # 100,000 take half a minute
    write("inc0.yaml", "a: 1")
    for number in range(1, 9):
        write(f"inc{number}.yaml", "".join(f"k{i}: !include:inc{number - 1}.yaml\n" for i in range(10)))
    message = refusal(child, "model:\n  fusion:\n    args:\n      x: !include:inc8.yaml\n")
    assert "this has more than 1000 values" in message


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("{n_fft: 1000000000}", "model.levels.x.args.n_fft in child.yaml, line 2: extractor 'mfcc': n_fft is"),
        ("{layers: 1000000}", "model.levels.x.args.layers in child.yaml, line 2: extractor 'mfcc': layers is"),
        ("{hop: 1}", "hop is 1; it has to be at least 32 with n_fft 2048"),
    ],
)
def test_arguments_of_a_front_end(args, message, child):
    recipe = child(f"model: {{levels: {{x: {{plugin: mfcc, args: {args}}}}}}}")
    assert message in refusal(find_part("extractor", recipe.model.levels["x"]).build, recipe.model.levels["x"].args)
