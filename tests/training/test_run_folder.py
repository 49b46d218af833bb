"""A run's folder: stamps in every file, one process at a time, what cannot be written is named."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from toolkit.errors import CheckpointError
from toolkit.training.predictions import read_csv
from toolkit.training.run_folder import RunFolder


def test_a_stamped_run_has_its_stamp_in_every_row(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_rows("a.csv", [{"x": 1}])
    assert (tmp_path / "a.csv").read_text() == "x\n1\n"
    folder.stamps = ("synthetic corpus", "random weights")
    folder.write_rows("a.csv", [{"x": 1}])
    assert (tmp_path / "a.csv").read_text() == "x,note\n1,synthetic corpus; random weights\n"


def test_a_second_process_is_refused_while_a_run_is_trained(tmp_path):
    script = (
        "import sys; from toolkit.training.run_folder import RunFolder; from toolkit.errors import CheckpointError\n"
        "try:\n  with RunFolder(sys.argv[1]).locked(): print('locked')\n"
        "except CheckpointError as error: print(error)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "run")]
    with RunFolder(tmp_path / "run").locked():
        refused = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert refused.startswith("Another process is training this run")
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "locked\n"


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(CheckpointError, match=r"cannot be written .*choose another --output_folder"),
        RunFolder(tmp_path / "file" / "run").locked(),
    ):
        pass


def test_a_full_disk_leaves_the_earlier_file(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    folder.write("results.json", "old")

    def full(path, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CheckpointError, match=r"results\.json cannot be written \(No space left"):
        folder.write("results.json", "new")
    assert (tmp_path / "results.json").read_text() == "old"


def test_what_a_killed_process_left_half_written_is_deleted(tmp_path):
    (tmp_path / ".results.json.0a1b2c3d.partial").write_text("{")
    with RunFolder(tmp_path).locked():
        assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_a_carriage_return_in_a_name_comes_back(tmp_path):
    RunFolder(tmp_path).write_rows("rows.csv", [{"id": "a", "speaker": "anna\rb"}, {"id": "b", "speaker": "c"}])
    assert [row["speaker"] for row in read_csv(tmp_path / "rows.csv")] == ["anna\rb", "c"]
