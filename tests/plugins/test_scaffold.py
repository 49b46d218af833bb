"""`toolkit new-plugin`: what it writes is installed, listed, tested and trained as it is, for each kind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from toolkit.cli.main import main
from toolkit.plugins.kinds import KINDS
from toolkit.plugins.registry import default_registry
from toolkit.plugins.scaffold import template_values
from toolkit.training.preparation import load_source, prepare
from toolkit.training.run import Run

NAMES = {
    "extractor": "my-prosody",
    "fusion": "mean-of-levels",
    "head": "cosine",
    "loss": "focal_loss",
    "augmentation": "clipping",
    "corpus": "folder-per-class",
}

OFFLINE = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")


def run(*words, folder, **environment):
    """A real command in a folder outside of the repository."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(
        [sys.executable, *map(str, words)], cwd=folder, env=environment, capture_output=True, text=True
    )


def new_plugin(*words):
    return CliRunner().invoke(main, ["new-plugin", *map(str, words)], catch_exceptions=False)


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A folder with a package of each kind, as it is written, all installed into its folder `installed`."""
    folder = tmp_path_factory.mktemp("packages")
    for kind, name in NAMES.items():
        assert new_plugin(kind, name, "--output", folder / name).exit_code == 0
    paths = [f"./{name}" for name in NAMES.values()]
    done = run("-m", "pip", "install", *OFFLINE, "--target", "installed", *paths, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def installed(packages):
    """The same on this process's path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(packages / "installed")
        patch.setenv("XDG_CACHE_HOME", str(packages / "cache"))
        default_registry.cache_clear()
        yield packages
    default_registry.cache_clear()
    modules = [name.replace("-", "_") for name in NAMES.values()]
    for module in [module for module in sys.modules if module.split(".")[0] in modules]:
        del sys.modules[module]


def test_there_is_a_package_for_each_kind():
    assert list(NAMES) == list(KINDS)


def test_the_plugins_are_listed_with_their_distributions(installed):
    result = CliRunner().invoke(main, ["list-plugins", "--json"])
    infos = [info for info in json.loads(result.stdout) if info["distribution"] in NAMES.values()]
    assert {info["kind"]: info["name"] for info in infos} == NAMES
    assert {(info["status"], info["version"], info["distribution"] == info["name"]) for info in infos} == {
        ("ok", "0.1.0", True)
    }


def test_their_own_tests_pass(packages):
    """In a process of its own, whose path holds them as any installed distribution."""
    tests = [f"{name}/tests" for name in NAMES.values()]
    command = ("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir", packages, *tests)
    done = run(*command, folder=packages, PYTHONPATH=str(packages / "installed"))
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


def test_an_editable_package_is_found_from_the_folder_that_holds_it(tmp_path):
    """`python -m` looks there first, and the folder of the package has the name of its module."""
    assert new_plugin("head", "pulse", "--output", tmp_path / "pulse").exit_code == 0
    done = run("-m", "pip", "install", *OFFLINE, "--prefix", "prefix", "--editable", "./pulse", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (tmp_path / "prefix").rglob("site-packages")
    code = f"import site; site.addsitedir({str(folder)!r}); import pulse; print(pulse.__file__)"
    assert run("-c", code, folder=tmp_path).stdout.strip() == str(tmp_path / "pulse/src/pulse/__init__.py")


def test_the_recipe_of_the_extractor_trains_from_its_own_folder(installed, monkeypatch):
    own = installed / NAMES["extractor"]
    monkeypatch.chdir(own)
    small = ["--training.epochs=1", "--corpus.args.utterances_per_speaker=4"]
    done = CliRunner().invoke(main, ["train", "my-prosody.yaml", *small])
    assert done.exit_code == 0, done.stderr
    results = json.loads((own / done.stdout.splitlines()[-1]).read_text())
    assert results["system"] == "my-prosody" and results["synthetic"] is True
    assert results["labels"] == ["ang", "hap", "neu", "sad"] and results["n_utterances"] == 8


@pytest.mark.parametrize("kind", ["fusion", "head", "loss", "corpus"])
def test_the_other_recipes_train(installed, kind, tmp_path):
    name, overrides = NAMES[kind], [f"--output_folder={tmp_path}", "--training.epochs=1", "--training.device=cpu"]
    folder = None
    if kind == "corpus":
        from folder_per_class.sounds import make_sounds

        folder = make_sounds(tmp_path / "sounds", each=4)
    else:
        overrides += ["--corpus.args.utterances_per_speaker=4"]
    source = load_source(installed / name / f"{name}.yaml", overrides, data_folder=folder)
    results = json.loads(Run(prepare(source), say=lambda line: None).train().read_text())
    assert results["system"] == name
    assert any("random split" in stamp for stamp in results["stamps"]) is (kind == "corpus")


def test_check_plugin_finds_nothing_wrong(installed, tmp_path):
    from folder_per_class.sounds import make_sounds

    make_sounds(tmp_path, each=1)
    for kind, name in NAMES.items():
        data = ["--data_folder", str(tmp_path)] if kind == "corpus" else []
        result = CliRunner().invoke(main, ["check-plugin", kind, name, *data])
        assert result.exit_code == 0, result.output
        assert result.output.rstrip().endswith(" hold.")


def test_the_contract_suite_needs_no_pytest(packages):
    code = """
import sys
sys.modules["pytest"] = None
from cosine.head import Cosine
from toolkit.testing import assert_contract
assert_contract("head", Cosine)
"""
    done = run("-c", code, folder=packages, PYTHONPATH=str(packages / "installed"))
    assert done.returncode == 0, done.stderr


def test_the_next_commands_are_printed_and_a_corpus_makes_its_data_first(tmp_path):
    lines = new_plugin("corpus", "my-sounds", "--output", tmp_path / "a folder").output.splitlines()
    assert [line.strip() for line in lines[2:]] == [
        f"cd '{tmp_path}/a folder'",
        "python -m pip install --editable '.[test]'",
        "python -m my_sounds.sounds sounds",
        "toolkit check-plugin corpus my-sounds --data_folder sounds",
        "python -m pytest",
        "toolkit train my-sounds.yaml --data_folder sounds",
    ]


def test_without_output_the_folder_has_the_plugins_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert new_plugin("loss", "focal").exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["focal"]
    assert sorted(path.name for path in (tmp_path / "focal").iterdir()) == [
        "README.md",
        "focal.yaml",
        "pyproject.toml",
        "src",
        "tests",
    ]


@pytest.mark.parametrize(
    ("name", "module", "class_name"),
    [("my-prosody", "my_prosody", "MyProsody"), ("x2_vector", "x2_vector", "X2Vector"), ("a", "a", "A")],
)
def test_names_are_made_valid(name, module, class_name):
    values = template_values(KINDS["extractor"], name)
    assert (values["module"], values["class_name"]) == (module, class_name)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["extracto", "x"], "No kind of plugin is called 'extracto'. Did you mean 'extractor'?"),
        (["head", "MyHead"], "A plugin cannot be called 'MyHead': write words of lower case letters"),
        (["head", "my head!"], "such as my-plugin"),
        (["head", "3d"], "with a letter first"),
        (["head", "a--b"], "joined by '-'"),
        (["head", "lambda"], "and not a keyword of Python."),
        (["extractor", "mfcc"], "A plugin, distribution or module 'mfcc' is installed already"),
        (["head", "scikit-learn"], "'scikit-learn' is installed already. Choose another name."),
        (["head", "json"], "module 'json' is installed already"),
    ],
)
def test_a_name_that_cannot_be_used_is_one_line(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = new_plugin(*words)
    assert result.exit_code == 2
    assert message in result.stderr and result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "work.py").write_text("")
    result = new_plugin("head", "my-head", "--output", tmp_path / "mine")
    assert result.exit_code == 2 and "name another folder with --output DIR" in result.stderr
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["work.py"]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    result = new_plugin("head", "my-head", "--output", tmp_path / "file" / "mine")
    assert result.exit_code == 2 and "cannot be written" in result.stderr and result.stderr.count("\n") == 1


def test_an_interrupted_writing_leaves_nothing(tmp_path, monkeypatch):
    written, write_text = [], Path.write_text

    def interrupt(path, *args, **options):
        write_text(path, *args, **options)
        written.append(path)
        if len(written) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", interrupt)
    assert new_plugin("head", "my-head", "--output", tmp_path / "mine").exit_code == 130
    assert len(written) == 3 and all(path.is_relative_to(tmp_path) for path in written)
    assert list(tmp_path.iterdir()) == []
