"""The cache's folder: eviction, locks between processes, kills, and the commands on it."""

import json
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from cached_features import Parts, fill_in_child, same
from click.testing import CliRunner
from small_system import write_recipe

from toolkit.cli.main import main
from toolkit.data.cache.shards import DESCRIPTION, FrontEndFolder
from toolkit.data.cache.store import features_folder, limit_bytes, lock_of, locked, make_room, stored_front_ends
from toolkit.errors import CacheError

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["toolkit.training.run"])
UTTERANCES = 24


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path / "cache"))
    return features_folder()


@pytest.fixture
def recipe(tmp_path):
    return write_recipe(tmp_path)


def store(root: Path, name: str, *, used: float) -> FrontEndFolder:
    """A front end of one utterance of two segments, a little over 4 kB, used so many seconds after 1970."""
    folder = FrontEndFolder(root / name, {"class": f"some:{name}"})
    folder.write({"u": [np.ones((300, 2), np.float32), np.full((200, 2), 2, np.float32)]})
    os.utime(folder.path / DESCRIPTION, (used, used))
    return folder


def names(root: Path) -> list[str]:
    return [stored.path.name for stored in stored_front_ends(root)]


def test_the_folder_is_the_variables_else_the_users(monkeypatch, tmp_path):
    assert features_folder() == tmp_path / "cache" / "features"
    monkeypatch.delenv("TOOLKIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert features_folder() == Path("/x/audio-classification-toolkit/features")


def test_the_limit_is_20_gb_unless_told_otherwise(monkeypatch):
    assert limit_bytes() == 20e9
    monkeypatch.setenv("TOOLKIT_CACHE_GB", "0.5")
    assert limit_bytes() == 5e8
    for nonsense in ("much", "-1", "nan"):
        monkeypatch.setenv("TOOLKIT_CACHE_GB", nonsense)
        with pytest.raises(CacheError, match=f"TOOLKIT_CACHE_GB is '{nonsense}': a number of gigabytes"):
            limit_bytes()


def test_what_is_written_is_found_by_another_reader(root):
    store(root, "a", used=1)
    folder = FrontEndFolder(root / "a", {})
    folder.find({"u", "v"}, say=pytest.fail)
    assert list(folder.entries) == ["u"]
    entry = folder.entries["u"]
    assert entry.spans() == [(0, 300), (600, 200)] and entry.values == 1000
    assert entry.shard.values[[0, 599, 600, 999]].tolist() == [1, 1, 2, 2]


def test_the_least_recently_used_goes_first_and_what_is_in_use_stays(root, monkeypatch):
    for used, name in enumerate("cab", start=1):
        store(root, name, used=used)
    assert names(root) == ["c", "a", "b"]
    monkeypatch.setenv("TOOLKIT_CACHE_GB", "0.000014")  # 14 kB, and 12.9 are there
    said = []
    make_room(root, 500, keep=[], say=said.append)
    assert names(root) == ["c", "a", "b"] and not said
    make_room(root, 5000, keep=[root / "c"], say=said.append)
    assert names(root) == ["c", "b"] and said[0].endswith(f"least recently: {root / 'a'} (0.0 MB)")
    make_room(root, 20000, keep=[root / "c"], say=said.append)
    assert names(root) == ["c"] and "all in use; TOOLKIT_CACHE_GB allows 0.0 MB" in said[-1]


def test_a_front_end_that_is_computed_at_the_moment_is_not_evicted(root, monkeypatch):
    store(root, "a", used=1)
    store(root, "b", used=2)
    monkeypatch.setenv("TOOLKIT_CACHE_GB", "0")
    with locked(lock_of(root / "a")):
        make_room(root, 1, keep=[], say=lambda line: None)
    assert names(root) == ["a"]


def test_a_run_evicts_what_is_old_and_being_used_makes_young(root, recipe, monkeypatch):
    parts = Parts(recipe)
    assert parts.cache().give(parts.sets)
    (own,) = names(root)
    os.utime(root / own / DESCRIPTION, (1, 1))
    store(root, "old", used=2)
    again = Parts(recipe)
    assert again.cache().give(again.sets) and names(root) == ["old", own]
    needed = sum(stored.bytes for stored in stored_front_ends(root)) + 1000
    monkeypatch.setenv("TOOLKIT_CACHE_GB", str(needed / 1e9))
    other = Parts(recipe)
    assert other.cache(code="2").give(other.sets)
    assert "old" not in names(root) and "Evicted from the feature cache" in other.said[0]


def test_who_finds_the_lock_taken_waits_says_so_once_and_then_finds_everything(root, recipe):
    first = Parts(recipe)
    cache = first.cache()
    cache._open()
    (key,) = cache._front_ends
    second = Parts(recipe)
    with locked(lock_of(root / key)) as held:
        assert held
        thread = threading.Thread(target=lambda: second.cache().give(second.sets))
        thread.start()
        for _ in range(500):
            if second.said:
                break
            time.sleep(0.01)
        assert [line.split(":")[0] for line in second.said] == [
            "Waits for another process that computes the same features"
        ]
        assert not second.computed and thread.is_alive()
    thread.join()
    assert len(second.computed) == UTTERANCES and len(second.said) == 1
    assert first.cache().give(first.sets) and not first.computed


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
    parts = Parts(recipe)
    assert parts.cache().give(parts.sets) and not parts.computed


@pytest.mark.parametrize("kill_at", [3, 18])
def test_a_killed_process_leaves_a_cache_that_is_completed_with_the_same_bits(recipe, tmp_path, monkeypatch, kill_at):
    codes, _ = children(recipe, tmp_path / "cache", kill_at=kill_at)
    assert codes == [-signal.SIGKILL]
    resumed = Parts(recipe)
    assert resumed.cache().give(resumed.sets)
    # the first 4 utterances are a shard, then every 5: at the 18th, 4 + 2 * 5 are there
    assert len(resumed.computed) == UTTERANCES - {3: 0, 18: 14}[kill_at]
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path / "undisturbed"))
    fresh = Parts(recipe)
    assert fresh.cache().give(fresh.sets)
    assert same(resumed.rows(), fresh.rows())


def invoke(*words, **options):
    return CliRunner().invoke(main, ["cache", *words], **options)


def test_cache_info_shows_what_is_there(root):
    assert "0.0 MB of 20000.0 MB" in invoke("info").output
    store(root, "aaa", used=86400)
    store(root, "bbb", used=2 * 86400)
    text = invoke("info").output
    assert text.splitlines()[0].startswith(f"{root}: 0.0 MB of 20000.0 MB (TOOLKIT_CACHE_GB)")
    assert text.index("some:bbb") < text.index("some:aaa")
    info = json.loads(invoke("info", "--json").output)
    assert info["folder"] == str(root) and info["limit_bytes"] == 20_000_000_000
    assert [(row["name"], row["entries"], row["class"]) for row in info["front_ends"]] == [
        ("bbb", 1, "some:bbb"),
        ("aaa", 1, "some:aaa"),
    ]
    assert sum(row["bytes"] for row in info["front_ends"]) == info["bytes"] > 8000


def test_cache_clear_asks_and_deletes_what_is_named(root):
    for name in ("abc", "abd", "x"):
        store(root, name, used=1)
    assert invoke("clear", input="n\n").exit_code == 1 and len(names(root)) == 3
    assert "abc" in invoke("clear", "abc", input="y\n").output and names(root) == ["abd", "x"]
    done = invoke("clear", "--yes")
    assert done.output.startswith("Freed 0.0 MB") and names(root) == []
    assert invoke("clear", "--yes").output.startswith("Nothing to delete")


def test_cache_clear_refuses_a_name_that_is_not_there(root):
    store(root, "abcdef", used=1)
    done = invoke("clear", "abcdex", "--yes")
    assert done.exit_code == 2 and "is called 'abcdex'. Did you mean 'abcdef'?" in done.output
    assert names(root) == ["abcdef"]


def test_cache_clear_leaves_what_is_being_computed(root):
    store(root, "abc", used=1)
    with locked(lock_of(root / "abc")):
        done = invoke("clear", "--yes")
    assert done.exit_code == 1 and "abc is being computed" in done.output and names(root) == ["abc"]
