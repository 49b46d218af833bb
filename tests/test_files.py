"""Files are there whole or not at all, whatever happens while they are written."""

import hashlib
import os
import subprocess
import sys

import pytest

from toolkit.errors import CheckpointError
from toolkit.files import (
    cache_folder,
    from_cell,
    locked,
    parse_json,
    read_json,
    read_text,
    replacing,
    resolved,
    sha256,
    to_cell,
    write_whole,
)

REMEDY = "make room"


def test_a_file_and_its_folders_are_made_and_replaced(tmp_path):
    path = tmp_path / "a" / "b.txt"
    write_whole(path, "one", CheckpointError, REMEDY)
    write_whole(path, b"two", CheckpointError, REMEDY, durable=True)
    assert path.read_text() == "two" and list(path.parent.iterdir()) == [path]


def test_a_file_has_the_rights_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "a", "x", CheckpointError, REMEDY)
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_is_raised_meanwhile_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(error), replacing(path, CheckpointError, REMEDY) as partial:
        partial.write_text("new")
        raise error
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    path = tmp_path / "a"
    message = r"a cannot be written \(No space left on device\): make room\.$"
    with pytest.raises(CheckpointError, match=message), replacing(path, CheckpointError, REMEDY):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_one_line(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(CheckpointError, match=r"Not a directory|File exists"):
        write_whole(tmp_path / "a" / "b", "x", CheckpointError, REMEDY)


def test_a_lock_is_lost_with_the_process_that_holds_it(tmp_path):
    path = tmp_path / "lock"
    code = "import sys, time, pathlib; from toolkit.files import locked\n"
    code += f"with locked(pathlib.Path({str(path)!r}), wait=True): print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        for shared in (False, True):
            with locked(path, wait=False, shared=shared) as held:
                assert not held
        holder.kill()
    with locked(path, wait=False) as held:
        assert held


def test_readers_share_a_lock(tmp_path):
    (tmp_path / "lock").touch()
    with (
        locked(tmp_path / "lock", wait=False, shared=True) as one,
        locked(tmp_path / "lock", wait=False, shared=True) as two,
    ):
        assert one and two


def test_the_hash_is_that_of_hashlib(tmp_path):
    data = bytes(range(256)) * 10_000
    (tmp_path / "a").write_bytes(data)
    assert sha256(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_the_cache_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "audio-classification-toolkit"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the specification has such a value ignored
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "audio-classification-toolkit"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 10_000 + "]" * 10_000, "nested too deeply"),
        ("[" * 200_000, "nested too deeply"),
        (b"\xff{}", "utf-8"),
        ("{", "Expecting property name"),
        ("", "Expecting value"),
    ],
)
def test_json_that_cannot_be_read_says_why_in_one_line(text, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        parse_json(text)
    assert len(str(caught.value)) < 200


def test_json_is_read():
    assert parse_json('[[{"a": [1.5, null]}]]') == [[{"a": [1.5, None]}]]
    assert parse_json('{"a": -9223372036854775807, "b": 1e308, "a": 2}') == {"a": 2, "b": 1e308}
    with pytest.raises(ValueError, match="twice"):
        parse_json('{"a": 1, "a": 1}', strict=True)


def test_a_json_file_without_an_object_is_named(tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(FileNotFoundError):
        read_json(path, CheckpointError, REMEDY)
    path.write_text("[]")
    with pytest.raises(FileNotFoundError):  # nothing is damaged if a file is named in place of a folder
        read_json(path / "b.json", CheckpointError, REMEDY)
    with pytest.raises(CheckpointError, match=r"a.json is damaged \(it does not hold an object\): make room\.$"):
        read_json(path, CheckpointError, REMEDY)
    with pytest.raises(CheckpointError, match=r"is damaged \(it is a folder, not a file\)"):
        read_json(tmp_path, CheckpointError, REMEDY)
    path.write_text('{"a": 1}')
    assert read_json(path, CheckpointError, REMEDY) == {"a": 1}


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "link").symlink_to("there")
    write_whole(tmp_path / "link", "new", CheckpointError, REMEDY)
    assert (tmp_path / "link").is_symlink() and (tmp_path / "there").read_text() == "new"
    assert {path.name for path in tmp_path.iterdir()} == {"link", "there"}


def test_what_is_no_file_is_refused_where_a_file_belongs_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name, kind in {"pipe": "a named pipe", "zero": "a device"}.items():
        with pytest.raises(CheckpointError, match=f"{name} cannot be written .it is {kind}, not a file.: make room"):
            write_whole(tmp_path / name, "x", CheckpointError, REMEDY)
        with pytest.raises(CheckpointError, match=f"{name} is damaged .it is {kind}, not a file.: make room"):
            read_json(tmp_path / name, CheckpointError, REMEDY)
        for read in (read_text, lambda path: locked(path, wait=True).__enter__()):
            with pytest.raises(OSError, match=f"it is {kind}, not a file"):
                read(tmp_path / name)
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "zero").is_char_device()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_byte_order_mark_says_the_encoding(tmp_path, encoding):
    (tmp_path / "a").write_text("größer\nb\n", encoding=encoding)
    assert read_text(tmp_path / "a") == "größer\nb\n"


@pytest.mark.parametrize("name", ["loop", "loop/x", "n" * 5000, "\udcff"])
def test_every_name_is_resolved_as_far_as_it_goes(tmp_path, name):
    (tmp_path / "loop").symlink_to("loop")
    assert resolved(tmp_path / name).is_absolute()


@pytest.mark.parametrize("text", ["=1+1", "+49 30 1234 x", "-x", "@home", "\tx", "\rx", "'=1", "''-x"])
def test_what_a_spreadsheet_would_compute_is_text_in_a_cell(text):
    assert to_cell(text) == f"'{text}" and from_cell(to_cell(text)) == text


@pytest.mark.parametrize("value", ["-0.5", -0.5, "+1e-3", "", "a=b", "'quoted'", None])
def test_numbers_and_other_text_stay_as_they_are(value):
    assert to_cell(value) == value
