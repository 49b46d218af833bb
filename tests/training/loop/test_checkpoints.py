"""A checkpoint is whole or not there: damaged, half-written and hostile ones, and a full disk."""

import json
import os
import resource
import signal
import time

import pytest
import torch
from speechbrain.utils.checkpoints import Checkpointer

from toolkit.errors import CheckpointError
from toolkit.files import sha256
from toolkit.training.loop.checkpoints import HASHES, Checkpoints, damage


def linear(value: float) -> torch.nn.Linear:
    module = torch.nn.Linear(2, 1, bias=False)
    torch.nn.init.constant_(module.weight, value)
    return module


def checkpoints_of(folder, keys=(), **parts) -> Checkpoints:
    made = Checkpoints(folder, keys)
    made.parts |= parts or {"module": linear(1.0)}
    return made


def test_the_newest_intact_checkpoint_is_loaded_and_a_damaged_one_named(tmp_path, caplog):
    module = linear(1.0)
    checkpoints = checkpoints_of(tmp_path, ["best"], module=module)
    first = checkpoints.save({"best": 1})
    torch.nn.init.constant_(module.weight, 2.0)
    file = checkpoints.save({}) / "module.ckpt"
    file.write_bytes(file.read_bytes()[:-10])
    fresh = checkpoints_of(tmp_path, module=module)
    torch.nn.init.constant_(module.weight, 9.0)
    assert fresh.last() == first
    fresh.load(first)
    assert module.weight.tolist() == [[1.0, 1.0]]
    assert "module.ckpt is missing or has changed since it was saved" in caplog.text


@pytest.mark.parametrize("lost", ["module.ckpt", HASHES])
def test_a_checkpoint_that_lacks_a_file_is_damaged(tmp_path, lost):
    saved = checkpoints_of(tmp_path).save({})
    assert damage(saved) is None
    (saved / lost).unlink()
    assert "missing" in damage(saved)


def test_what_a_kill_left_half_written_is_deleted(tmp_path):
    half = tmp_path / ".CKPT+x.0123abcd.partial"
    half.mkdir()
    (half / "CKPT.yaml").write_text("unixtime: 1")
    checkpoints = checkpoints_of(tmp_path)
    assert not half.exists()
    assert checkpoints.last() is None


def test_the_last_and_the_best_are_kept(tmp_path):
    checkpoints = checkpoints_of(tmp_path, ["best_valid", "best_test"])
    best = checkpoints.save({"best_valid": 1, "best_test": 1})
    for _ in range(3):
        last = checkpoints.save({})
        assert list(checkpoints.intact()) == [last, best] and checkpoints.last() == last
    other = checkpoints.save({"best_test": 2})
    assert list(checkpoints.intact()) == [other, best]
    assert checkpoints.best("best_valid", 1) == best
    with pytest.raises(CheckpointError, match="No intact checkpoint of the best epoch, 2"):
        checkpoints.best("best_valid", 2)


def test_at_the_end_the_best_are_left_and_no_damaged_ones(tmp_path):
    checkpoints = checkpoints_of(tmp_path, ["best_valid", "best_test"])
    checkpoints.save({"best_valid": 1})
    best = checkpoints.save({"best_valid": 2})
    (checkpoints.save({}) / HASHES).unlink()
    checkpoints_of(tmp_path, ["best_valid", "best_test"]).keep_best()
    assert list(tmp_path.iterdir()) == [best]


def test_a_checkpoint_that_speechbrain_wrote_is_read(tmp_path):
    module = linear(1.0)
    path = Checkpointer(tmp_path, {"module": module}).save_checkpoint({"best_valid": 3}).path
    (path / HASHES).write_text(json.dumps({file.name: sha256(file) for file in path.iterdir()}))
    torch.nn.init.constant_(module.weight, 9.0)
    checkpoints = checkpoints_of(tmp_path, module=module)
    checkpoints.load(checkpoints.best("best_valid", 3))
    assert module.weight.tolist() == [[1.0, 1.0]] and checkpoints.last() == path


def test_code_in_a_checkpoint_is_not_run_even_if_the_environment_allows_it(tmp_path, monkeypatch):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "pwned"),)

    checkpoints = checkpoints_of(tmp_path / "saves")
    saved = checkpoints.save({})
    torch.save({"weight": Hostile()}, saved / "module.ckpt")
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(CheckpointError, match="UnpicklingError"):
        checkpoints.load(saved)
    assert not (tmp_path / "pwned").exists()


def test_a_full_disk_is_one_line_and_leaves_the_earlier_checkpoint(tmp_path, monkeypatch):
    """The limit on file size makes the kernel refuse the write, as a full disk does."""
    checkpoints = checkpoints_of(tmp_path, module=torch.nn.Linear(500, 500))
    checkpoints.save({})
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        with pytest.raises(CheckpointError, match="earlier checkpoints are intact; make room") as caught:
            checkpoints.save({})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert "\n" not in str(caught.value)
    assert checkpoints_of(tmp_path, module=torch.nn.Linear(500, 500)).last() is not None
    assert len(list(tmp_path.iterdir())) == 1


def test_a_clock_that_is_set_back_does_not_change_which_checkpoint_is_the_last(tmp_path, monkeypatch):
    checkpoints = checkpoints_of(tmp_path)
    checkpoints.save({"epoch": 1})
    yesterday = time.time() - 86_400
    monkeypatch.setattr(time, "time", lambda: yesterday)
    second = checkpoints.save({"epoch": 2})
    fresh = checkpoints_of(tmp_path, ["epoch"])
    assert fresh.last() == second
    assert fresh.save({"epoch": 3}) == fresh.last() != second


def test_other_files_in_the_folder_are_left_alone(tmp_path):
    saved = checkpoints_of(tmp_path).save({"best": 1})
    for name in (".DS_Store", ".nfs0001", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "loop").symlink_to("loop")
    fresh = checkpoints_of(tmp_path, ["best"])
    assert fresh.last() == saved
    fresh.keep_best()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {saved.name, ".DS_Store", ".nfs0001", "notes.txt", "loop"}


@pytest.mark.parametrize("other", [{"module": torch.nn.Linear(3, 1)}, {"another": torch.nn.Linear(2, 1)}])
def test_a_checkpoint_of_another_run_is_refused_by_name(tmp_path, other):
    saved = checkpoints_of(tmp_path, **other).save({})
    with pytest.raises(CheckpointError, match=r"CKPT.* belongs to another run \(.*\): delete the run's") as caught:
        checkpoints_of(tmp_path).load(saved)
    assert "\n" not in str(caught.value)
