"""config.json of a bundle: it is read as it was written, and a change anywhere is seen."""

import copy
import json
from pathlib import Path

import pytest
from small_bundle import signed, train, with_gender

from toolkit.errors import BundleError
from toolkit.inference.bundle.config import CONFIG, BundleConfig, read_config
from toolkit.inference.bundle.export import export_bundle

# Mappings whose keys are names: with one more or fewer they describe another system.
NAMED = (
    *(("distributions",), ("exported_with",), ("files",), ("classes",), ("covariates",)),
    *(("model", family) for family in ("levels", "covariates", "heads", "losses")),
    *(("training", facts) for facts in ("utterances", "speakers", "versions", "pretrained")),
    *(("training", "test", figures) for figures in ("recall", "f1", "by_gender")),
    *(("calibration",), ("abstaining",)),
)


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> str:
    """The config.json of a system with a covariate."""
    folder = tmp_path_factory.mktemp("bundle")
    run = train(folder, "--training.epochs=1", change=with_gender("label"))
    return (export_bundle(run, folder / "b") / CONFIG).read_text()


@pytest.fixture
def values(text) -> dict:
    return {key: value for key, value in json.loads(text).items() if key != "sha256"}


def read(values: object) -> BundleConfig:
    return read_config(json.dumps(signed(values)).encode())


def refusal(given: bytes | dict) -> str:
    with pytest.raises(BundleError) as caught:
        read_config(given if isinstance(given, bytes) else json.dumps(signed(given)).encode())
    message = str(caught.value)
    assert message.startswith(CONFIG) and "\n" not in message and len(message) < 600
    return message


def paths(value: object, path: tuple = ()):
    """Every path in a tree; of lists, the first three items."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths(inner, (*path, key))


def parent(values: dict, path: tuple):
    for key in path[:-1]:
        values = values[key]
    return values


def test_a_written_config_is_read_back(text):
    config = read_config(text.encode())
    assert config.text() == text
    assert read_config(config.text().encode()) == config


def test_a_field_of_another_type_is_refused(values):
    tried = 0
    for path in paths(values):
        if "args" in path or path[-1] == "on":  # arguments are checked when the plugin is known
            continue
        for wrong in (True, "text", ["a"], {"a": 1}):
            changed = copy.deepcopy(values)
            found = parent(changed, path)[path[-1]]
            part = type(found) is dict and wrong == "text"  # a part can be its name alone
            if found is not None and type(wrong) is not type(found) and not part:
                parent(changed, path)[path[-1]] = wrong
                with pytest.raises(BundleError):
                    read(changed)
                tried += 1
    assert tried > 400


def test_every_other_key_is_refused(values):
    for path in paths(values):
        if "args" in path or path[:-1] in NAMED or not isinstance(path[-1], str):
            continue
        parent(changed := copy.deepcopy(values), path)["surplus"] = 1
        refusal(changed)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format_version", 4, "format_version is 4, but this audio-classification-toolkit reads 1, 2 and 3. Install"),
        ("format_version", "1", "format_version is '1'"),
        ("model.heads.emotion.on", "fusde", "an unknown embedding. Did you mean 'fused'?"),
        ("audio.segment_seconds", 1e308, "and at most 262.1 at 16000 Hz"),
        ("audio.sample_rate", 2**26, "audio.sample_rate: must be at most 768,000, not 67,108,864"),
        ("audio.sample_rate", 0, "must be at least 1, not 0"),
        ("audio.tail", "heavy", "audio.tail"),
    ],
)
def test_a_wrong_value_is_named(values, path, value, message):
    *keys, last = path.split(".")
    tree = values
    for key in keys:
        tree = tree[key]
    tree[last] = value
    assert message in refusal(values)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"seed": 1,', '"seed": NaN,', "NaN is not a finite number"),
        ('"seed": 1,', '"seed": 1e999,', "1e999 is not a finite number"),
        ('"seed": 1,', '"seed": -Infinity,', "-Infinity is not a finite number"),
        ('"seed": 1,', '"seed": 1, "seed": 2,', "a key occurs twice"),
        ('"seed": 1,', '"seed": ' + "9" * 400 + ".0,", "is not a finite number"),
        ('"seed": 1,', '"seed": 1', "cannot be read as JSON"),
        ('"seed": 1,', '"seed": ' + "[" * 100_000 + "]" * 100_000 + ",", CONFIG),
        ('"seed": 1,', '"seed": ' + "9" * 5000 + ",", "cannot be read as JSON"),
    ],
)
def test_what_json_does_not_allow_is_refused(text, old, new, message):
    assert old in text
    assert message in refusal(text.replace(old, new, 1).encode())


def test_a_change_anywhere_is_seen(text, values):
    swapped = json.loads(text)
    swapped["classes"]["label"].reverse()
    for changed in (swapped, values, values | {"sha256": None}, values | {"sha256": "0" * 64}):
        with pytest.raises(BundleError, match=r"config\.json is not the file that was exported"):
            read_config(json.dumps(changed).encode())
    assert read(values).text() == text


def test_the_page_names_every_key(values):
    page = (Path(__file__).parents[3] / "docs" / "bundles.md").read_text()
    described = [path for path in paths(values) if "args" not in path and path[:-1] not in NAMED]
    keys = {path[-1] for path in described if isinstance(path[-1], str)}
    assert len(keys) > 50
    assert sorted(key for key in keys if f"`{key}`" not in page) == []
