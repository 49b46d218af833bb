"""Feature files that are damaged, deleted, or cannot be read or written."""

import errno
import os
import re
import shutil
from contextlib import closing

import pytest
import torch
from cached_features import Parts, same, stored_files

from toolkit.contracts import Seq
from toolkit.data import front_ends as cache_files
from toolkit.data.cache.store import features_folder
from toolkit.data.front_ends import rows_of
from toolkit.data.loaders import in_order
from toolkit.errors import ToolkitError

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-10],
        lambda content: content[:-10] + b"0123456789",
        lambda content: b"",
        lambda content: bytes(len(content)),
        lambda content: content[:20],
        lambda content: content.replace(b'"F32"', b'"I32"'),
        lambda content: content.replace(b"crc32", b"crc99"),
        lambda content: re.sub(rb'"__metadata__":{[^}]*},', b"", content),
    ],
    ids=["truncated", "other values", "empty", "zeros", "in its header", "other kind", "no checksum", "no metadata"],
)
def test_a_damaged_file_is_reported_and_computed_again(recipe, damage):
    before = Parts(recipe).fill().rows()
    path = stored_files()[0]
    path.write_bytes(damage(path.read_bytes()))
    parts = Parts(recipe).fill()
    assert len(parts.computed) == 1 and same(parts.rows(), before)
    (line,) = parts.said
    assert line.startswith("A file of the feature cache is damaged and computed again:")
    assert str(path) in line and "\n" not in line
    assert not Parts(recipe).fill().said


def test_what_a_killed_process_left_is_deleted_by_the_next_that_writes(recipe):
    Parts(recipe).fill()
    last = stored_files()[0]
    last.unlink()
    unfinished = last.with_name(f".{last.name}.0123.partial")
    unfinished.write_bytes(b"half")
    Parts(recipe).fill()
    assert last.exists() and not unfinished.exists()


def test_a_file_that_may_not_be_read_is_not_passed_over(recipe, monkeypatch):
    before = Parts(recipe).fill() and stored_files()

    def refuse(path, framework):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(cache_files, "safe_open", refuse)
    parts = Parts(recipe)
    with pytest.raises(PermissionError):
        parts.fill()
    assert stored_files() == before and not parts.computed


def test_a_file_that_is_deleted_during_a_run_is_reported_in_one_line(recipe):
    parts = Parts(recipe)
    with closing(parts.cache()) as cache:
        loader = in_order(parts.data.train, cache)
        shutil.rmtree(features_folder())
        with pytest.raises(ToolkitError, match=r"\.safetensors was whole when the run began .*: start the run again"):
            list(loader)


def test_a_full_disk_is_one_line_that_says_what_to_do(recipe, monkeypatch):
    def full(path, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(
        ToolkitError, match=r"No space left on device\): make room, set TOOLKIT_CACHE.*_cache_mb 0"
    ) as error:
        Parts(recipe).fill()
    assert "\n" not in str(error.value) and not list(features_folder().glob("*/.*.partial"))


def test_a_folder_that_cannot_be_made_is_reported_in_one_line(recipe, own_cache):
    own_cache.write_text("a file")
    with pytest.raises(ToolkitError, match="make room, set TOOLKIT_CACHE to another folder"):
        Parts(recipe).fill()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_that_may_only_be_read_is_read(recipe):
    Parts(recipe).fill()
    folders = [features_folder(), *features_folder().glob("*/")]
    try:
        for folder in folders:
            folder.chmod(0o500)
        assert not Parts(recipe).fill().computed
    finally:
        for folder in folders:
            folder.chmod(0o700)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_features_whose_channels_come_first_in_memory_are_stored(tmp_path, precision):
    """As convolutions leave them."""
    values = torch.arange(12.0).view(1, 3, 4).transpose(1, 2)
    rows = rows_of(Seq(values, torch.tensor([4])), precision=precision)
    files = cache_files.FeatureFiles(tmp_path / "key", {}, say=print)
    files.write("utterance", rows)
    assert torch.equal(cache_files.read_segment(files.path("utterance"), 0), values[0])
