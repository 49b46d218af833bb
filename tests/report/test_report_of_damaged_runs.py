"""Files of an experiment's runs that were edited, cut or replaced end a report in a line that names them."""

import csv

import numpy as np
import pytest
from fake_experiment import SER, FakeExperiment

from toolkit.errors import ExperimentError
from toolkit.report.evidence import Evidence
from toolkit.report.page import write_report
from toolkit.training.run_folder import RunFolder


def test_systems_that_were_tested_on_other_utterances_of_a_fold_are_not_compared(tmp_path):
    folder = FakeExperiment({"ser": SER, "mf": SER}, folds={"1M": ("1M",)}, utterances=8).write(tmp_path)
    predictions = next(path for path in folder.glob("runs/mf-*/predictions.csv"))
    *rows, last = predictions.read_text().splitlines(keepends=True)
    predictions.write_text("".join([*rows, f"other{last}"]))
    with pytest.raises(ExperimentError, match="different utterances in fold '1M'"):
        write_report(folder)
    predictions.write_text("".join(rows))
    with pytest.raises(ExperimentError, match=r"predictions.csv and results.json belong to different runs: delete"):
        write_report(folder)


def test_damaged_predictions_are_named(tmp_path):
    folder = FakeExperiment({"ser": SER}, folds={"1M": ("1M",)}).write(tmp_path)
    (run,) = Evidence(folder).runs
    (run.folder / "predictions.csv").write_text("id,speaker\n1,2\n")
    with pytest.raises(ExperimentError, match=r"predictions.csv is damaged .* delete the run and train it again"):
        write_report(folder)


@pytest.mark.parametrize("change", [{"p_ang": "nan"}, {"p_ang": "7"}, {"id": "x"}])
@pytest.mark.parametrize("file", ["predictions.csv", "validation.csv"])
def test_answers_that_cannot_be_are_named(tmp_path, file, change):
    folder = FakeExperiment({"ser": SER}, folds={"1M": ("1M",)}).write(tmp_path)
    (run,) = Evidence(folder).runs
    rows = [{**row, **change} for row in csv.DictReader((run.folder / file).read_text().splitlines())]
    RunFolder(run.folder).write_rows(file, rows)
    with pytest.raises(ExperimentError, match=rf"{file} is damaged .* delete the run and train it again"):
        write_report(folder)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("epochs.csv", b"epoch,test_wa,test_ua\n1,much,0.5\n"),
        ("epochs.csv", b"epoch\n1\n"),
        ("embeddings.npz", b"PK\3\4"),
    ],
)
def test_a_damaged_file_of_a_figure_is_named(tmp_path, file, content):
    folder = FakeExperiment({"ser": SER}, folds={"1M": ("1M",)}).write(tmp_path)
    (run,) = Evidence(folder).runs
    (run.folder / file).write_bytes(content)
    with pytest.raises(ExperimentError, match=rf"{file} is damaged \(\w+: .*\): delete the run and train it again"):
        write_report(folder)


def test_embeddings_of_another_run_are_named(tmp_path):
    folder = FakeExperiment({"ser": SER}, folds={"1M": ("1M",)}, utterances=6).write(tmp_path)
    (run,) = Evidence(folder).runs
    np.savez(run.folder / "embeddings.npz", **{**np.load(run.folder / "embeddings.npz"), "id": np.arange(6)})
    with pytest.raises(ExperimentError, match=r"embeddings.npz is damaged .*: delete the run and train it again"):
        write_report(folder)
