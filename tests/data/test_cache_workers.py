"""Workers that compute features: the same bits, errors of one line, and nothing left behind by a killed process."""

import os
import re
import signal
import time
from contextlib import closing
from pathlib import Path

import pytest
import torch
from cached_features import Parts, same, stored_files
from several_ranks import CONTEXT
from throwaway import good, install

from toolkit.data.cache import features as cache_features
from toolkit.errors import AudioError, FailedPlugin, ToolkitError
from toolkit.plugins.registry import default_registry

pytestmark = [
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core has one process"),
    pytest.mark.usefixtures("own_cache"),
]
UTTERANCES = 24


@pytest.fixture
def workers(monkeypatch):
    """Two workers, as many as the process has threads, even for few utterances."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(cache_features, "LEAST_UTTERANCES", 2)
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)


def test_workers_compute_the_same_bits_and_draw_nothing(recipe, request):
    here = Parts(recipe).fill(code="1")
    request.getfixturevalue("workers")
    there, before = Parts(recipe), torch.get_rng_state()
    there.fill(code="2")
    assert torch.equal(torch.get_rng_state(), before)
    assert len(here.computed) == UTTERANCES and not there.computed and same(here.rows(), there.rows())


def test_for_a_gpu_workers_read_and_the_process_itself_computes(recipe, workers):
    parts = Parts(recipe)
    with closing(parts.cache()) as cache:
        lacking = cache._lacking(utterance for segments in parts.sets for utterance in cache._utterances(segments))
        work = cache_features.Computation(cache, lacking)
        work.on_cpu = False
        assert work.loader().num_workers == 2
        work.run()
        assert len(parts.computed) == UTTERANCES == len(stored_files()) and not cache._lacking(u for u, _ in lacking)


def test_what_a_worker_cannot_read_is_the_error_that_one_process_raises(recipe, workers):
    (recipe.parent / "corpus" / "2M1.wav").write_bytes(b"RIFF no more")
    with pytest.raises(AudioError, match=r"^/\S*2M1\.wav is not audio that can be read"):
        Parts(recipe).fill()


MOODY = """
from broken_extractors import GoodExtractor

class Moody(GoodExtractor):
    def features(self, wave):
        if wave.values.any():
            raise ValueError("no sound")
        return super().features(wave)
"""


def test_a_bug_of_a_plugin_is_reported_as_its_own(recipe, workers, tmp_path, monkeypatch):
    install(tmp_path, "my-levels", good("extractor", "moody", "moody:Moody"), files={"moody.py": MOODY})
    monkeypatch.syspath_prepend(tmp_path)
    default_registry.cache_clear()
    recipe.write_text(re.sub(r"mfcc: \{plugin: mfcc.*", "mfcc: {plugin: moody}", recipe.read_text()))
    with pytest.raises(
        FailedPlugin, match=r"extractor 'moody' from my-levels 1.0: `features` raised ValueError: no sound"
    ):
        Parts(recipe).fill()
    default_registry.cache_clear()


def test_a_killed_worker_is_reported_in_one_line_and_the_rest_is_computed_later(recipe, workers):
    parts, main = Parts(recipe), os.getpid()
    features = parts.system.levels["mfcc"].features

    def killed(wave):
        if os.getpid() != main and len(parts.computed) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return features(wave)

    parts.system.levels["mfcc"].features = killed
    with pytest.raises(ToolkitError, match=r"^A process that computes features died \(.*\): start the run again"):
        parts.fill()
    assert 3 <= len(stored_files()) < UTTERANCES
    parts.system.levels["mfcc"].features = features
    assert len(parts.fill().rows()) > UTTERANCES


def fill_slowly(recipe: Path, cache: Path, begun: Path) -> None:
    os.environ["TOOLKIT_CACHE"] = str(cache)
    torch.set_num_threads(2)
    parts = Parts(recipe)

    def slow(wave):
        if wave.values.any():
            (begun / str(os.getpid())).touch()
            time.sleep(0.5)
        return features(wave)

    features, parts.system.levels["mfcc"].features = parts.system.levels["mfcc"].features, slow
    cache_features.LEAST_UTTERANCES = 2
    parts.fill()


def test_workers_of_a_process_that_is_killed_end_soon_and_leave_no_lock(recipe, tmp_path):
    begun = tmp_path / "begun"
    begun.mkdir()
    process = CONTEXT.Process(target=fill_slowly, args=(recipe, tmp_path / "cache", begun))
    process.start()
    deadline = time.monotonic() + 30
    while len(pids := list(begun.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(pids) == 2 and str(process.pid) not in {path.name for path in pids}
    process.kill()
    assert 0 < len(Parts(recipe).fill().computed) < UTTERANCES  # once each has stored its utterances at hand
    assert len(stored_files()) == UTTERANCES
