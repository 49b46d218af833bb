"""`toolkit.train` and `toolkit.read_predictions`, the notebook and the page that show them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pages import DOCS, ROOT, blocks
from small_system import write_corpus, write_recipe
from throwaway import good, install

import toolkit
from toolkit.errors import CheckpointError, CorpusError, ExperimentError, FailedPlugin, RecipeError
from toolkit.plugins.registry import default_registry
from toolkit.recipe.loading import as_overrides


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    recipe, lines = write_recipe(tmp_path_factory.mktemp("api")), []
    overrides = {"training": {"patience": 1}, "training.epochs": np.int64(2), "training.min_epochs": 0}
    return recipe, overrides, toolkit.train(recipe, say=lines.append, **overrides), lines


def test_train_returns_what_results_json_holds_and_reads_a_finished_run(trained):
    recipe, overrides, result, lines = trained
    assert result == json.loads((result.folder / "results.json").read_text()) and result["epochs"] <= 2
    again = toolkit.train(str(recipe), say=lines.append, **overrides)
    assert again == result and lines[-1] == f"This run is finished; nothing is trained: {result.folder}"


def test_validation_scores_are_those_of_the_epoch_that_was_tested(trained):
    result = trained[2]
    header, *rows = [line.split(",") for line in (result.folder / "epochs.csv").read_text().splitlines()]
    row = dict(zip(header, rows[result["epoch"] - 1], strict=True))
    assert [result[name] for name in ("valid_wa", "valid_ua")] == [float(row[n]) for n in ("valid_wa", "valid_ua")]


def test_a_table_with_other_column_names_is_trained_on(trained, tmp_path):
    table = write_corpus(tmp_path)
    table.write_text(table.read_text().replace("path,label", "file,class"))
    given = {"manifest": table, "say": [].append, "training.epochs": 1, "output_folder": tmp_path}
    with pytest.raises(CorpusError, match="--columns path=file,label=class"):
        toolkit.train(trained[0], **given)
    result = toolkit.train(trained[0], columns={"path": "file", "label": "class"}, **given)
    assert result["labels"] == ["noise", "tone"]


def test_predictions_are_columns_of_numbers_and_names(trained):
    result = trained[2]
    table = toolkit.read_predictions(result)
    columns = ["id", "speaker", "gender", "seconds", "reference", "predicted", "p_noise", "p_tone"]
    assert list(table) == columns and {len(column) for column in table.values()} == {result["n_utterances"]}
    assert np.mean(table["reference"] == table["predicted"]) == result["wa"]
    assert np.allclose(table["p_noise"] + table["p_tone"], 1) and table["seconds"].dtype == float
    assert np.array_equal(toolkit.read_predictions(str(result.folder / "results.json"))["id"], table["id"])
    for other in (result.folder.parent, result.folder / "predictions.csv"):
        with pytest.raises(ExperimentError, match="is not the folder of a finished run"):
            toolkit.read_predictions(other)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"training.epoch": 3}, "Did you mean 'training.epochs'"),
        ({"training.epochs": "three"}, "'three' is text; a whole number is needed"),
        ({"training.epochs": object()}, "'<object object at .*' is text; a whole number is needed"),
    ],
)
def test_a_wrong_override_is_one_line(trained, overrides, message):
    with pytest.raises(RecipeError, match=message):
        toolkit.train(trained[0], **overrides)


def test_a_folder_whose_name_is_too_long_is_one_line(trained):
    with pytest.raises(CheckpointError, match=r"cannot be written \(File name too long\): choose another"):
        toolkit.train(trained[0], output_folder=trained[0].parent / ("x" * 300))


def test_a_plugin_that_fails_is_named_in_the_line_that_the_command_would_print(tmp_path, monkeypatch):
    source = "from toolkit.contracts import Head\nclass Mine(Head):\n    def forward(self, embedding):\n        1 / 0\n"
    install(tmp_path, "my-heads", good("head", "mine", "mine_heads:Mine"), files={"mine_heads.py": source})
    monkeypatch.syspath_prepend(tmp_path)
    default_registry.cache_clear()
    with pytest.raises(FailedPlugin, match="`forward` raised ZeroDivisionError"):
        toolkit.train(write_recipe(tmp_path), **{"model.heads.level": {"plugin": "mine"}})
    monkeypatch.undo()
    default_registry.cache_clear()


def test_a_checkout_that_is_not_installed_says_so_in_one_line(tmp_path):
    hide = "from importlib import metadata\ndef version(name): raise metadata.PackageNotFoundError(name)\n"
    (tmp_path / "sitecustomize.py").write_text(f"{hide}metadata.version = version\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "toolkit", "list-plugins"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "the toolkit is not installed, so its plugins cannot be found: run `pip install .`" in done.stderr


def test_texts_stay_texts_and_paths_become_texts():
    given = {"fold": "null", "output_folder": Path("a b"), "labels": ["no", 'a "b"']}
    assert as_overrides(given) == ['--fold="null"', '--output_folder="a b"', r'--labels=["no", "a \"b\""]']


def python_of(name: str) -> str:
    if name.endswith(".md"):
        return "\n".join(blocks(DOCS / name, "python"))
    cells = [c for c in json.loads((DOCS / name).read_text())["cells"] if c["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    return "\n".join("".join(cell["source"]) for cell in cells)


@pytest.mark.parametrize(("name", "said"), [("first-model.ipynb", " correct"), ("python.md", "groups-1-seed2")])
def test_the_notebook_and_the_page_run_from_their_first_line_to_the_last(name, said, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    write_corpus(tmp_path, sessions=3).rename("my.csv")
    exec(compile(python_of(name), name, "exec"), {})
    assert said in capsys.readouterr().out
