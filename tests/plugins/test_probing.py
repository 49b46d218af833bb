"""Declarations of others are read in subprocesses with a time limit, and the answers are kept."""

import time

import pytest
from throwaway import good, install

from toolkit.plugins import declarations
from toolkit.plugins.declarations import Declaration, installed, read_declaration
from toolkit.plugins.registry import discover


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TOOLKIT_PROBE_SECONDS", raising=False)
    return tmp_path / "cache" / "audio-classification-toolkit" / "plugins"


@pytest.fixture
def probes(monkeypatch):
    """The modules that were probed in a subprocess."""
    asked = []
    ask = declarations.ask_subprocess
    monkeypatch.setattr(declarations, "ask_subprocess", lambda module: asked.append(module) or ask(module))
    return asked


def only(distribution):
    return [declaration for declaration in installed() if declaration.distribution == distribution]


def test_an_answer_is_kept_until_the_source_changes(tmp_path, monkeypatch, cache, probes):
    module = install(tmp_path, "kept-dist", good("extractor", "before"))
    monkeypatch.syspath_prepend(str(tmp_path))
    for _ in range(2):
        assert [info.name for info in discover(only("kept-dist")).list_plugins()] == ["before"]
    assert probes == [module]
    (tmp_path / f"{module}.py").write_text(good("extractor", "afterwards"))
    assert [info.name for info in discover(only("kept-dist")).list_plugins()] == ["afterwards"]
    assert probes == [module, module]


def test_an_answer_is_kept_until_something_else_is_installed(tmp_path, monkeypatch, cache, probes):
    module = install(tmp_path, "needy-dist", "import late_dist_module\n" + good("extractor", "needy"))
    monkeypatch.syspath_prepend(str(tmp_path))
    for _ in range(2):
        assert [info.status for info in discover(only("needy-dist")).list_plugins()] == ["broken"]
    install(tmp_path, "late-dist", "", files={"late_dist_module.py": ""})
    assert [info.status for info in discover(only("needy-dist")).list_plugins()] == ["ok"]
    assert probes == [module, module]


def test_an_answer_is_asked_for_again_at_another_version_and_on_demand(tmp_path, monkeypatch, cache, probes):
    module = install(tmp_path, "version-dist", good("extractor", "v"))
    monkeypatch.syspath_prepend(str(tmp_path))
    discover(only("version-dist"))
    metadata = tmp_path / "version_dist-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("1.0", "1.1"))
    assert discover(only("version-dist")).list_plugins()[0].version == "1.1"
    discover(only("version-dist"), refresh=True)
    assert probes == [module] * 3


def test_a_damaged_answer_is_asked_for_again(monkeypatch, cache):
    monkeypatch.setattr(declarations, "ask_subprocess", lambda module: "broken")
    declaration = Declaration("some-dist", "1.0", "x", "some_module")
    for _ in range(2):
        assert [info.error for info in discover([declaration]).list_plugins()] == ["broken"]
        (answer,) = cache.iterdir()
        answer.write_text("{")


def test_a_cache_folder_that_cannot_be_written_costs_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(declarations, "ask_subprocess", lambda module: "x")
    declaration = Declaration("some-dist", "1.0", "x", "some_module")
    assert [info.status for info in discover([declaration]).list_plugins()] == ["broken"]


def test_a_module_that_hangs_is_asked_once_and_again_when_the_limit_changes(tmp_path, monkeypatch, cache, probes):
    module = install(tmp_path, "hang-dist", "import time; time.sleep(60)")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("TOOLKIT_PROBE_SECONDS", "0.8")
    for _ in range(2):
        (info,) = discover(only("hang-dist")).list_plugins()
        assert (info.status, info.version) == ("broken", "1.0")
        assert "took longer than 0.8 s (TOOLKIT_PROBE_SECONDS sets the limit)" in info.error
    assert probes == [module]
    monkeypatch.setenv("TOOLKIT_PROBE_SECONDS", "0.9")
    discover(only("hang-dist"))
    assert probes == [module, module]


def test_the_time_limit_holds_for_a_module_that_leaves_children_behind(tmp_path, monkeypatch, cache):
    child = "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    module = install(tmp_path, "child-dist", child + "import time; time.sleep(60)")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("TOOLKIT_PROBE_SECONDS", "0.8")
    start = time.monotonic()
    assert "took longer than 0.8 s" in declarations.ask_subprocess(module)
    assert time.monotonic() - start < 10


def test_a_declaration_that_is_interrupted_stops_the_program(tmp_path, monkeypatch):
    (tmp_path / "interrupted_declaration.py").write_text("raise KeyboardInterrupt")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        read_declaration("interrupted_declaration")


def test_our_own_declarations_need_no_subprocess(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a subprocess was started")

    monkeypatch.setattr(declarations, "ask_subprocess", refuse)
    infos = discover(only("audio-classification-toolkit")).list_plugins()
    assert {info.status for info in infos} == {"ok"}
    assert {info.kind for info in infos} >= {"extractor", "fusion", "head", "loss", "corpus"}
