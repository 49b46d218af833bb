import random
import string

import pytest
from ruamel.yaml import YAML

from toolkit.errors import RecipeError
from toolkit.recipe.checks import Keys, Tagged
from toolkit.recipe.yaml_files import read_value, read_yaml


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder / f"{next(iter(files))}.yaml"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1.5E3", 1500.0),
        (".5", 0.5),
        ("-3", -3),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("true", True),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("~", None),
        ("", None),
        ("2020-01-01", "2020-01-01"),
        ("12:30", "12:30"),
        ("1e", "1e"),
        ("'64'", "64"),
        ("!!str 64", "64"),
        ("!!float 64", 64.0),
        ("(1, 2)", "(1, 2)"),
        ("[a, 1, {b: null}]", ["a", 1, {"b": None}]),
        ("a <b> c", "a <b> c"),
        ("{a: &x [1], b: *x}", {"a": [1], "b": [1]}),
    ],
)
def test_values_are_read_as_yaml_1_2_does(text, value):
    result = read_value(text)
    assert result == value
    assert type(result) in (type(value), Keys)


def test_the_key_on_is_text(tmp_path):
    assert read_yaml(write(tmp_path, a="on: fused\nno: 1")) == {"on": "fused", "no": 1}


def test_values_that_another_reader_writes_are_read_back(tmp_path):
    generator = random.Random(1)

    def draw(depth):
        kind = generator.randrange(8 if depth < 3 else 6)
        if kind < 2:
            return "".join(generator.choices(string.printable[:95] + "äß€", k=generator.randrange(8)))
        if kind < 6:
            return [None, generator.random() < 0.5, generator.randint(-99, 10**12), generator.gauss(0, 1e6)][kind - 2]
        if kind == 6:
            return [draw(depth + 1) for _ in range(generator.randrange(4))]
        return {f"k{i}{generator.choice('-_ :#')}": draw(depth + 1) for i in range(generator.randrange(4))}

    for _ in range(200):
        value = {"x": draw(0)}
        with (tmp_path / "x.yaml").open("w") as file:
            YAML(typ="safe", pure=True).dump(value, file)
        assert read_yaml(tmp_path / "x.yaml") == value


@pytest.mark.parametrize(
    "text",
    [
        "a: !apply:os.mkdir [{file}]",
        "a: !new:pathlib.Path [x]",
        "a: !name:os.system",
        "a: !module:os",
        "a: !applyref:os.mkdir [{file}]",
        "a: !!python/object/apply:os.mkdir [{file}]",
        "a: !!python/name:os.system ''",
        "a: !!python/tuple [1, 2]",
        "a: !<tag:yaml.org,2002:python/object/apply:os.mkdir> [{file}]",
        "a: !<!apply:os.mkdir> [{file}]",
        "%TAG !e! tag:yaml.org,2002:python/object/apply:\n---\na: !e!os.mkdir [{file}]",
        "%TAG ! !apply:\n---\na: !os.mkdir [{file}]",
        "? !apply:os.mkdir [{file}]\n: 1",
        "a: [1, {{b: [!apply:os.mkdir [{file}]]}}]",
        "a: !ref [!apply:os.mkdir [{file}]]",
        "a: !include:b.yaml\n  x: !apply:os.mkdir [{file}]",
        "a: !include:code.yaml",
        "a: !include:deep.yaml",
    ],
)
def test_a_tag_that_runs_code_is_refused_and_does_not_run(tmp_path, text):
    made = tmp_path / "made"
    write(tmp_path, b="x: 1", code=f"x: !apply:os.mkdir [{made}]", deep="y: !include:code.yaml")
    path = write(tmp_path, a=text.format(file=made))
    with pytest.raises(RecipeError, match=r"runs code.*--trust-recipe|cannot be used here|a key must be text"):
        read_yaml(path)
    assert not made.exists()


def test_hyperpyyaml_tuples_are_text_and_run_nothing(tmp_path):
    made = tmp_path / "made"  # HyperPyYAML hands what looks like a tuple to PyYAML's unsafe loader
    path = write(tmp_path, a=f'a: "(!!python/object/apply:os.mkdir [{made}])"\nb: (!!python/name:os.system)')
    assert read_yaml(path)["b"] == "(!!python/name:os.system)"
    assert not made.exists()


def test_the_refused_tag_is_shown_with_its_position(tmp_path):
    with pytest.raises(RecipeError, match=r"^in a\.yaml, line 2: the tag !!python/name:os.system runs code"):
        read_yaml(write(tmp_path, a="a: 1\nb: !!python/name:os.system ''"))


def test_a_trusted_file_keeps_its_code_unrun(tmp_path):
    code = read_yaml(write(tmp_path, a="a: !apply:os.getcwd"), trust=True)["a"]
    assert isinstance(code, Tagged) and code.tag == "!apply:os.getcwd"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\n\tb: 2", r"^in a\.yaml, line 2: .*indent with spaces"),
        ("a: [1,\nb: 2", r"^in a\.yaml, line 2: expected"),
        (
            "a: 1\na: 2",
            r"^in a\.yaml, line 2: the key 'a' occurs twice \(first in a\.yaml, line 1\)",
        ),
        ("{x: {a: 1, 'a': 2}}", "occurs twice"),
        ("a: *b", r"line 1: found undefined alias"),
        ("a: &x [*x]", "nested more than 50 deep; an alias or a file may hold itself"),
        ("1: a", r'a key must be text; write "1"'),
        ("true: a", r'write "true"'),
        ("null: a", "a key must be text"),
        ("[a]: b", "a key must be text"),
        ("? !!str [a]\n: b", "a key must be text"),
        ("<<: {a: 1}", "`extends` merges files"),
        ("a: !foo 1", "the tag !foo cannot be used here"),
        ("a: !!set {b}", "!!set cannot be used here"),
        ("a: !!int x", "'x' is not a value of !!int"),
        ("a: !include b.yaml", "Known: .*!include:file"),
        ("a: .inf", "not finite"),
        ("a: 1e999", "not finite"),
        ("a: 1\n---\nb: 2", "another document"),
        ("- a", r"a\.yaml: a mapping is needed"),
        ("a", "a mapping is needed"),
        ("a: \x00", "this is not YAML"),
        ("a: " + "[" * 60 + "]" * 60, "nested more than 50 deep"),
        ("a: !include:none.yaml", r"none\.yaml cannot be read: No such file"),
        ("a: !include:a.yaml", "a file may hold itself"),
        ("a: !include:b.yaml text", "only a mapping of changed keys"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_its_position(tmp_path, text, message):
    (tmp_path / "b.yaml").write_text("c: 1")
    with pytest.raises(RecipeError, match=message) as error:
        read_yaml(write(tmp_path, a=text))
    assert "\n" not in str(error.value)


def test_a_file_of_another_encoding_and_a_missing_one_are_refused(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(RecipeError, match="it is not UTF-8 text"):
        read_yaml(tmp_path / "a.yaml")
    with pytest.raises(RecipeError, match="No such file"):
        read_yaml(tmp_path / "b.yaml")


def test_aliases_cannot_make_a_small_file_enormous(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(RecipeError, match="more than 100000 values"):
        read_yaml(write(tmp_path, a="\n".join(lines)))


def test_an_included_file_is_read_in_with_its_changed_keys(tmp_path):
    (tmp_path / "parts").mkdir()
    write(tmp_path / "parts", part="x: {y: 1, z: 2}\nw: 3", other="v: 4")
    tree = read_yaml(write(tmp_path, a="p: !include:parts/part.yaml\n  x: {z: 5}\nq: !include:parts/other.yaml"))
    assert tree == {"p": {"x": {"y": 1, "z": 5}, "w": 3}, "q": {"v": 4}}
    assert str(tree["p"]["x"].marks["y"]) == "in part.yaml, line 1"
    assert str(tree["p"]["x"].marks["z"]) == "in a.yaml, line 2"


def test_every_key_knows_its_line(tmp_path):
    tree = read_yaml(write(tmp_path, a="a:\n  b: 1\n  c: !PLACEHOLDER\n"))
    assert str(tree["a"].marks["c"]) == "in a.yaml, line 3"
    assert tree["a"]["c"].tag == "!PLACEHOLDER"
