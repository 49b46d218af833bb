"""The cache's folder: eviction, locks between processes, kills, and the commands on it."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from cached_features import Parts, fill_in_child, same
from click.testing import CliRunner
from several_ranks import CONTEXT

from toolkit.cli.main import main
from toolkit.data.cache.store import DESCRIPTION, features_folder, limit_bytes, make_room, stored_front_ends
from toolkit.data.front_ends import FeatureFiles, read_segment
from toolkit.errors import ToolkitError

UTTERANCES = 24


@pytest.fixture(autouse=True)
def root(own_cache):
    return features_folder()


def store(root: Path, name: str, *, used: float) -> FeatureFiles:
    """A front end of one utterance of two segments, a little over 4 kB, used so many seconds after 1970."""
    files = FeatureFiles(root / name, {"class": f"some:{name}"}, say=pytest.fail)
    with files.filling():
        files.write("u", [torch.ones(300, 2), torch.full((200, 2), 2.0)])
    os.utime(files.folder / DESCRIPTION, (used, used))
    return files


def names() -> list[str]:
    return [stored.path.name for stored in stored_front_ends()]


def test_the_folder_is_the_variables_else_the_users(monkeypatch, tmp_path):
    assert features_folder() == tmp_path / "cache" / "features"
    monkeypatch.delenv("TOOLKIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert features_folder() == Path("/x/audio-classification-toolkit/features")


def test_the_limit_is_20_gb_unless_the_variable_sets_it(monkeypatch):
    assert limit_bytes() == 20e9
    monkeypatch.setenv("TOOLKIT_CACHE_GB", "0.5")
    assert limit_bytes() == 5e8
    for nonsense in ("much", "-1", "nan"):
        monkeypatch.setenv("TOOLKIT_CACHE_GB", nonsense)
        with pytest.raises(ToolkitError, match=f"TOOLKIT_CACHE_GB is '{nonsense}': a number of gigabytes"):
            limit_bytes()


def test_what_is_written_is_found_by_another_reader(root):
    store(root, "a", used=1)
    files = FeatureFiles(root / "a", {}, say=pytest.fail)
    assert files.holds("u") and not files.holds("v")
    assert torch.equal(read_segment(files.path("u"), 0), torch.ones(300, 2))
    assert read_segment(files.path("u"), 1).shape == (200, 2)


def test_the_least_recently_used_goes_first_and_what_is_in_use_stays(root, monkeypatch):
    for used, name in enumerate("cab", start=1):
        store(root, name, used=used)
    assert names() == ["c", "a", "b"]
    monkeypatch.setenv("TOOLKIT_CACHE_GB", "0.000014")  # 14 kB, and nearly 13 are there
    said = []
    make_room(500, say=said.append)
    assert names() == ["c", "a", "b"] and not said
    with FeatureFiles(root / "c", {}, say=pytest.fail).in_use():
        os.utime(root / "c" / DESCRIPTION, (1, 1))
        make_room(5000, say=said.append)
        assert names() == ["c", "b"] and said[0].endswith(f"least recently used: {root / 'a'} (0.0 MB)")
        make_room(20000, say=said.append)
    assert names() == ["c"] and "all in use; TOOLKIT_CACHE_GB allows 0.0 MB" in said[-1]


def test_folders_that_the_toolkit_did_not_write_are_no_front_ends(root, monkeypatch):
    store(root, "a", used=1)
    (root / "mine").mkdir()
    (root / "mine" / "speech.safetensors").touch()
    monkeypatch.setenv("TOOLKIT_CACHE_GB", "0")
    make_room(1, say=lambda line: None)
    assert names() == [] and (root / "mine" / "speech.safetensors").exists()


def test_a_file_that_another_run_has_just_renamed_does_not_hide_its_front_end(root):
    store(root, "a", used=1)
    (root / "a" / ".v.safetensors.0123.partial").symlink_to("gone")
    assert names() == ["a"]


def test_a_run_removes_the_least_recently_used_and_its_own_use_counts(root, recipe, monkeypatch):
    Parts(recipe).fill()
    (own,) = names()
    os.utime(root / own / DESCRIPTION, (1, 1))
    store(root, "old", used=2)
    Parts(recipe).fill()
    assert names() == ["old", own]
    needed = sum(stored.bytes for stored in stored_front_ends()) + 1000
    monkeypatch.setenv("TOOLKIT_CACHE_GB", str(needed / 1e9))
    other = Parts(recipe).fill(code="2")
    assert "old" not in names() and "Removed from the feature cache" in other.said[0]


def test_a_process_that_finds_another_at_work_waits_says_so_once_and_finds_everything(root, recipe):
    first, second = Parts(recipe), Parts(recipe)
    (front_end,) = first.cache().front_ends.values()
    with front_end.filling():
        thread = threading.Thread(target=second.fill)
        thread.start()
        for _ in range(500):
            if second.said:
                break
            time.sleep(0.01)
        assert [line.split(":")[0] for line in second.said] == [
            "Waiting for another process that computes the same features"
        ]
        assert not second.computed and thread.is_alive()
    thread.join()
    assert len(second.computed) == UTTERANCES and len(second.said) == 1
    first.fill()
    assert not first.computed


def children(recipe, folder, *, count=1, kill_at=None):
    """Exit code and number of computed utterances of processes that fill a cache at once."""
    barrier = CONTEXT.Barrier(count) if count > 1 else None
    logs = [folder.parent / f"log{number}" for number in range(count)]
    processes = [CONTEXT.Process(target=fill_in_child, args=(recipe, folder, log, barrier, kill_at)) for log in logs]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes], logs


def test_two_processes_at_once_compute_each_utterance_once(recipe, tmp_path):
    codes, logs = children(recipe, tmp_path / "cache", count=2)
    assert codes == [0, 0]
    assert sum(int(log.read_text().partition("\n")[0]) for log in logs) == UTTERANCES
    assert not Parts(recipe).fill().computed


@pytest.mark.parametrize("kill_at", [3, 18])
def test_a_killed_process_leaves_a_cache_that_is_completed_with_the_same_bits(recipe, tmp_path, monkeypatch, kill_at):
    codes, _ = children(recipe, tmp_path / "cache", kill_at=kill_at)
    assert codes == [-signal.SIGKILL]
    resumed = Parts(recipe).fill()
    assert len(resumed.computed) == UTTERANCES - (kill_at - 1)
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path / "undisturbed"))
    assert same(resumed.rows(), Parts(recipe).fill().rows())


def invoke(*words, **options):
    return CliRunner().invoke(main, ["cache", *words], **options)


def test_a_limit_may_be_infinite(root, monkeypatch):
    monkeypatch.setenv("TOOLKIT_CACHE_GB", "inf")
    assert json.loads(CliRunner().invoke(main, ["cache", "info", "--json"]).stdout)["limit_bytes"] is None
    assert "0.0 MB of inf MB" in CliRunner().invoke(main, ["cache", "info"]).stdout


def test_cache_info_shows_what_is_there(root):
    assert "0.0 MB of 20000.0 MB" in invoke("info").output
    store(root, "aaa", used=86400)
    store(root, "bbb", used=2 * 86400)
    text = invoke("info").output
    assert text.splitlines()[0].startswith(f"{root}: 0.0 MB of 20000.0 MB (TOOLKIT_CACHE_GB)")
    assert text.index("some:bbb") < text.index("some:aaa")
    info = json.loads(invoke("info", "--json").output)
    assert info["folder"] == str(root) and info["limit_bytes"] == 20_000_000_000
    assert [(row["name"], row["utterances"], row["class"]) for row in info["front_ends"]] == [
        ("bbb", 1, "some:bbb"),
        ("aaa", 1, "some:aaa"),
    ]
    assert sum(row["bytes"] for row in info["front_ends"]) == info["bytes"] > 8000


@pytest.mark.parametrize("text", ["[" * 20_000, '{"class": []}', '{"bytes": "x", "last_used": 1e308, "name": []}'])
def test_cache_info_shows_a_front_end_whose_description_was_edited(root, text):
    store(root, "aaa", used=86400)
    (root / "aaa" / "front-end.json").write_text(text)
    assert "aaa" in invoke("info").output
    (row,) = json.loads(invoke("info", "--json").output)["front_ends"]
    assert row["name"] == "aaa" and row["bytes"] > 4000 and row["last_used"] > 86400


def test_cache_clear_asks_and_deletes_what_is_named(root):
    for name in ("abc", "abd", "x"):
        store(root, name, used=1)
    assert invoke("clear", input="n\n").exit_code == 1 and len(names()) == 3
    assert "abc" in invoke("clear", "abc", input="y\n").output and names() == ["abd", "x"]
    done = invoke("clear", "--yes")
    assert done.output.startswith("Freed 0.0 MB") and names() == []
    assert invoke("clear", "--yes").output.startswith("Nothing to delete")


def test_cache_clear_refuses_a_name_that_is_not_there(root):
    store(root, "abcdef", used=1)
    assert invoke("clear", "", "--yes").exit_code == 2
    done = invoke("clear", "abcdex", "--yes")
    assert done.exit_code == 2 and "is called 'abcdex': `toolkit cache info` lists them." in done.output
    assert names() == ["abcdef"]


def test_cache_clear_leaves_what_is_in_use(root):
    store(root, "abc", used=1)
    with FeatureFiles(root / "abc", {}, say=pytest.fail).in_use():
        done = invoke("clear", "--yes")
    assert done.exit_code == 1 and "abc is in use" in done.output and names() == ["abc"]
