"""Features computed in forked processes: the bits that one process makes, and nothing lost where one of them ends."""

import os
import signal

import pytest
import soundfile
import torch
from cached_features import Parts, same
from small_system import write_recipe

from toolkit.data.cache import filling as cache_filling
from toolkit.data.cache import shards as cache_shards
from toolkit.data.cache.features import JUDGED
from toolkit.data.cache.store import features_folder
from toolkit.data.cache.workers import can_fork
from toolkit.errors import AudioError, CacheError

pytestmark = pytest.mark.skipif(not can_fork(), reason="Linux alone")
UTTERANCES = 24


@pytest.fixture(autouse=True)
def two_cores(monkeypatch, tmp_path):
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache_filling, "WORTHWHILE", 4)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def recipe(tmp_path):
    return write_recipe(tmp_path)


@pytest.fixture
def expected(recipe, monkeypatch):
    """What one process makes."""
    with monkeypatch.context() as patched:
        patched.setattr(cache_filling, "WORTHWHILE", 1000)
        parts = Parts(recipe)
        assert parts.cache(code="alone").give(parts.sets) and len(parts.computed) == UTTERANCES
        return parts.rows()


def at_call(parts: Parts, number: int, event) -> None:
    """Let something happen in a process when it computes its nth utterance, none in the parent."""
    level, here = parts.system.levels["mfcc"], os.getpid()
    features, calls = level.features, []

    def disturbed(wave):
        if os.getpid() != here:
            calls.append(1)
            if len(calls) == number:
                event()
        return features(wave)

    level.features = disturbed


def test_processes_make_the_same_bits(recipe, expected):
    parts = Parts(recipe)
    assert parts.cache().give(parts.sets)
    assert len(parts.computed) == JUDGED  # here
    assert same(parts.rows(), expected)
    again = Parts(recipe)
    assert again.cache().give(again.sets) and not again.computed
    assert same(again.rows(), expected)


def test_what_a_killed_process_did_not_write_is_computed_here(recipe, expected):
    parts = Parts(recipe)
    at_call(parts, 5, lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert parts.cache().give(parts.sets)
    assert same(parts.rows(), expected) and len(parts.computed) == UTTERANCES  # both died before they wrote


def test_where_no_process_can_begin_threads_compute(recipe, expected, monkeypatch):
    def refuse(process):
        raise OSError(11, "Resource temporarily unavailable")

    parts = Parts(recipe)
    monkeypatch.setattr("multiprocessing.context.ForkProcess.start", refuse)
    assert parts.cache().give(parts.sets)
    assert same(parts.rows(), expected) and len(parts.computed) == UTTERANCES


def test_a_killed_process_loses_its_part_of_500_utterances(recipe, monkeypatch):
    monkeypatch.setattr(cache_shards, "SHARD_ENTRIES", 2 * 3)
    parts = Parts(recipe)
    at_call(parts, 5, lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert parts.cache().give(parts.sets)
    assert len(parts.computed) == UTTERANCES - 2 * 3  # each of two had written three before it died


@pytest.mark.parametrize("worthwhile", [4, 1000], ids=["processes", "threads"])
def test_an_error_is_told_once_and_the_rest_is_kept(recipe, expected, capfd, monkeypatch, worthwhile):
    monkeypatch.setattr(cache_filling, "WORTHWHILE", worthwhile)
    parts = Parts(recipe)
    broken = recipe.parent / "corpus" / "2F3.wav"
    whole = broken.read_bytes()
    soundfile.write(broken, torch.full((4800,), float("nan")).numpy(), 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"2F3.wav holds NaN"):
        parts.cache().give(parts.sets)
    assert capfd.readouterr() == ("", "")
    broken.write_bytes(whole)
    after = Parts(recipe)
    assert after.cache().give(after.sets)
    assert 0 < len(after.computed) < UTTERANCES and same(after.rows(), expected)


def test_a_full_disk_is_told_here(recipe, monkeypatch):
    parts = Parts(recipe)
    cache = parts.cache()
    cache.give([parts.data.segments(parts.data.train.utterances[:JUDGED])])

    def full(path, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("toolkit.data.cache.shards.Path.replace", full)
    with pytest.raises(CacheError, match="No space left on device"):
        cache.give(parts.sets)


def test_processes_hold_together_what_one_would(recipe, monkeypatch):
    monkeypatch.setattr(cache_shards, "SHARD_BYTES", 2 * 3000)
    parts = Parts(recipe)
    assert parts.cache().give(parts.sets)
    sizes = [file.stat().st_size for file in features_folder().glob("*/*.npy")]
    first = max(sizes)  # of those by which it was judged, which one process wrote at once
    largest = max(values.nbytes for values in parts.rows().values())
    assert sum(sizes) > UTTERANCES * largest / 2 and len(sizes) > 5
    assert sorted(size for size in sizes if size > 3000 + 2 * largest) in ([], [first])


@pytest.mark.parametrize("why", ["another distribution's", "one core"])
def test_one_process_computes(recipe, why):
    parts = Parts(recipe)
    if why == "one core":
        torch.set_num_threads(1)
    cache = parts.cache()
    if why != "one core":
        cache.code = {level: {**code, "another": "1"} for level, code in cache.code.items()}
    assert cache.give(parts.sets) and len(parts.computed) == UTTERANCES
