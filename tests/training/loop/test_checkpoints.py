"""A checkpoint is whole or not there: damaged, half-written and hostile ones, and a full disk."""

import os
import resource
import signal
import time

import pytest
import torch

from toolkit.errors import CheckpointError
from toolkit.training.loop.checkpoints import HASHES, AtomicCheckpointer, damage


def linear(value: float) -> torch.nn.Linear:
    module = torch.nn.Linear(2, 1, bias=False)
    torch.nn.init.constant_(module.weight, value)
    return module


def test_the_newest_intact_checkpoint_is_loaded_and_a_damaged_one_named(tmp_path, caplog):
    module = linear(1.0)
    checkpointer = AtomicCheckpointer(tmp_path, {"module": module})
    checkpointer.save_checkpoint()
    torch.nn.init.constant_(module.weight, 2.0)
    newest = checkpointer.save_checkpoint()
    file = newest.paramfiles["module"]
    file.write_bytes(file.read_bytes()[:-10])
    fresh = AtomicCheckpointer(tmp_path, {"module": module})
    torch.nn.init.constant_(module.weight, 9.0)
    fresh.recover_if_possible()
    assert module.weight.tolist() == [[1.0, 1.0]]
    assert "module.ckpt has changed since it was saved" in caplog.text


@pytest.mark.parametrize("lost", ["module.ckpt", HASHES])
def test_a_checkpoint_that_lacks_a_file_is_damaged(tmp_path, lost):
    saved = AtomicCheckpointer(tmp_path, {"module": linear(1.0)}).save_checkpoint()
    assert damage(saved.path) is None
    (saved.path / lost).unlink()
    assert "missing" in damage(saved.path)


def test_what_a_kill_left_half_written_is_deleted(tmp_path):
    half = tmp_path / ".CKPT+x.0123abcd.partial"
    half.mkdir()
    (half / "CKPT.yaml").write_text("unixtime: 1")
    os.mkfifo(tmp_path / ".pipe.partial")  # not ours; to delete it like a folder would wait for its writer
    checkpointer = AtomicCheckpointer(tmp_path, {"module": linear(1.0)})
    assert not half.exists()
    assert checkpointer.find_checkpoint() is None


def test_saves_within_a_second_are_two_checkpoints(tmp_path):
    checkpointer = AtomicCheckpointer(tmp_path, {"module": linear(1.0)})
    assert checkpointer.save_checkpoint().path != checkpointer.save_checkpoint().path
    assert len(checkpointer.list_checkpoints()) == 2


def test_keep_only_leaves_the_best_and_no_damaged_ones(tmp_path):
    checkpointer = AtomicCheckpointer(tmp_path, {"module": linear(1.0)})
    checkpointer.save_checkpoint(meta={"best_valid": 1})
    best = checkpointer.save_checkpoint(meta={"best_valid": 2})
    damaged = checkpointer.save_checkpoint()
    (damaged.path / HASHES).unlink()
    fresh = AtomicCheckpointer(tmp_path, {"module": linear(1.0)})
    fresh.keep_only(["best_valid", "best_test"])
    assert list(tmp_path.iterdir()) == [best.path]


def test_code_in_a_checkpoint_is_not_run_even_if_the_environment_allows_it(tmp_path, monkeypatch):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "pwned"),)

    checkpointer = AtomicCheckpointer(tmp_path / "saves", {"module": linear(1.0)})
    saved = checkpointer.save_checkpoint()
    torch.save({"weight": Hostile()}, saved.paramfiles["module"])
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(CheckpointError, match="UnpicklingError"):
        checkpointer.load_checkpoint(saved)
    assert not (tmp_path / "pwned").exists()


def test_a_full_disk_is_one_line_and_leaves_the_earlier_checkpoint(tmp_path, monkeypatch):
    """The limit on file size makes the kernel refuse the write, as a full disk does."""
    checkpointer = AtomicCheckpointer(tmp_path, {"module": torch.nn.Linear(500, 500)})
    checkpointer.save_checkpoint()
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        with pytest.raises(CheckpointError, match="earlier checkpoints are intact; make room") as caught:
            checkpointer.save_checkpoint()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert "\n" not in str(caught.value)
    assert AtomicCheckpointer(tmp_path, {"module": torch.nn.Linear(500, 500)}).find_checkpoint() is not None
    assert len(list(tmp_path.iterdir())) == 1


def test_a_clock_that_is_set_back_does_not_change_which_checkpoint_is_the_last(tmp_path, monkeypatch):
    checkpointer = AtomicCheckpointer(tmp_path, {"module": linear(1.0)})
    checkpointer.save_checkpoint({"epoch": 1})
    yesterday = time.time() - 86_400
    monkeypatch.setattr(time, "time", lambda: yesterday)
    checkpointer.save_checkpoint({"epoch": 2})
    fresh = AtomicCheckpointer(tmp_path, {"module": linear(1.0)})
    assert fresh.find_checkpoint().meta["epoch"] == 2
    fresh.save_checkpoint({"epoch": 3})
    assert fresh.find_checkpoint().meta["epoch"] == 3


def test_other_files_in_the_folder_are_left_alone(tmp_path):
    checkpointer = AtomicCheckpointer(tmp_path, {"module": linear(1.0)})
    saved = checkpointer.save_checkpoint({"best": 1})
    checkpointer.save_checkpoint()
    for name in (".DS_Store", ".nfs0001", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "loop").symlink_to("loop")
    fresh = AtomicCheckpointer(tmp_path, {"module": linear(1.0)})
    assert fresh.recover_if_possible() is not None
    fresh.keep_only(["best"])
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {saved.path.name, ".DS_Store", ".nfs0001", "notes.txt", "loop"}


@pytest.mark.parametrize("other", [{"module": torch.nn.Linear(3, 1)}, {"another": torch.nn.Linear(2, 1)}])
def test_a_checkpoint_of_another_run_is_refused_by_name(tmp_path, other):
    AtomicCheckpointer(tmp_path, other).save_checkpoint()
    checkpointer = AtomicCheckpointer(tmp_path, {"module": linear(1.0)})
    with pytest.raises(CheckpointError, match=r"CKPT.* is of another run \(.*\): delete the run's folder") as caught:
        checkpointer.recover_if_possible()
    assert "\n" not in str(caught.value)
