"""Commands beside distributions that are broken in every way: all are named, and training goes on."""

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner
from small_system import write_recipe
from throwaway import good, install

from toolkit.cli.main import main
from toolkit.plugins.registry import default_registry

HOOK = "from toolkit import PluginSpec, hookimpl\n\n@hookimpl\ndef toolkit_register():\n    "
BROKEN = {  # distribution -> its declaration, and the reason that is listed; test_registry.py has more
    "import-error": ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    "syntax-error": ("def", "SyntaxError"),
    "hangs": ("import time; time.sleep(60)", "took longer than 5 s"),
    "hangs-in-its-hook": (HOOK + "import time; time.sleep(60)", "took longer than 5 s"),
    "of-the-future": (good("extractor", "future", contract=">=99"), "it was written for contract >=99"),
    "without-module": (good("extractor", "lost", "no_such_module:Lost"), "the module no_such_module is missing"),
    "without-submodule": (good("head", "lost", "toolkit.contracts.heads:Lost"), "contracts.heads is missing"),
    "of-another-api": (HOOK + "return [PluginSpec('head', 'a', 'b:C', 'd', colour='red')]", "TypeError"),
}
USABLE = '''
from toolkit_plugins.extractors.mfcc import Mfcc

class Usable(Mfcc):
    """An extractor that works."""

class Raises(Mfcc):
    """An extractor with a bug."""

    def encode(self, features):
        return {}["no such key"]
'''


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """A folder with all of them, two of one name, some whose class is broken, and one that works."""
    folder = tmp_path_factory.mktemp("zoo")
    for name, (source, _) in BROKEN.items():
        install(folder, name, source)
    for name in ("one-of-two", "two-of-two"):
        install(folder, name, good("extractor", "twin"))
    install(folder, "works", good("extractor", "usable", "usable_extractor:Usable"))
    install(folder, "raises", good("extractor", "raises", "usable_extractor:Raises"))
    install(folder, "without-class", good("extractor", "absent", "usable_extractor:Absent"))
    install(folder, "wrong-class", good("extractor", "counter", "collections:Counter"))
    install(folder, "exits-late", good("extractor", "late", "exits_late:Late"))
    (folder / "usable_extractor.py").write_text(USABLE)
    (folder / "exits_late.py").write_text("raise SystemExit('too late')")
    return folder


@pytest.fixture(scope="module")
def limits(zoo, tmp_path_factory):
    """Variables of a command beside the zoo."""
    cache = str(tmp_path_factory.mktemp("cache"))
    return {"XDG_CACHE_HOME": cache, "TOOLKIT_PROBE_SECONDS": "5", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def listed(zoo, limits, tmp_path_factory):
    """What a command of its own lists, in an empty folder; the answers of the zoo's modules are kept."""
    command = [sys.executable, "-m", "toolkit", "list-plugins", "--json"]
    environment = os.environ | limits | {"PYTHONPATH": os.pathsep.join([str(zoo), *sys.path])}
    folder = tmp_path_factory.mktemp("elsewhere")
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=True)
    return {info["distribution"]: info for info in json.loads(done.stdout) if info["version"] == "1.0"}


@pytest.fixture
def toolkit(listed, zoo, limits, tmp_path, monkeypatch):
    """Run a command beside the zoo, in this process and an empty folder."""
    for name, value in limits.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(zoo)
    monkeypatch.chdir(tmp_path)
    default_registry.cache_clear()
    yield lambda *words: CliRunner().invoke(main, list(map(str, words)), prog_name="toolkit")
    default_registry.cache_clear()
    sys.modules.pop("usable_extractor", None)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_distribution_is_named_with_its_reason(listed, name):
    assert listed[name]["status"] == "broken"
    assert BROKEN[name][1] in listed[name]["error"]


def test_the_others_are_listed_as_they_are(listed):
    assert {name: info["status"] for name, info in listed.items() if name not in BROKEN} == {
        "one-of-two": "ambiguous",
        "two-of-two": "ambiguous",
        "works": "ok",
        "raises": "ok",
        "without-class": "ok",
        "wrong-class": "ok",
        "exits-late": "ok",
    }


def test_a_plugin_that_works_trains_beside_them(toolkit, tmp_path):
    recipe = write_recipe(tmp_path)
    recipe.write_text(recipe.read_text().replace("plugin: mfcc", "plugin: usable"))
    done = toolkit("train", recipe, "--training.epochs=1")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith("results.json")


def test_a_bug_in_a_plugin_ends_a_training_with_one_line_that_names_it(toolkit, zoo, tmp_path):
    recipe = write_recipe(tmp_path)
    recipe.write_text(recipe.read_text().replace("plugin: mfcc", "plugin: raises"))
    done = toolkit("train", recipe, "--training.epochs=1")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == (
        "toolkit: model.levels.mfcc in small.yaml, line 7: extractor 'raises' from raises 1.0: `encode` "
        f"raised KeyError: 'no such key' ({zoo / 'usable_extractor.py'}, line 11). `toolkit check-plugin extractor "
        "raises:raises` tries the plugin out. --traceback shows the whole traceback."
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        ("twin", "Write 'one-of-two:twin' or 'two-of-two:twin'."),
        ("future", "extractor 'future' from of-the-future 1.0 cannot be used: it was written for contract >=99"),
        ("absent", "extractor 'absent' from without-class 1.0 cannot be imported"),
        ("counter", "collections:Counter is not a toolkit.contracts.Extractor."),
        ("late", "extractor 'late' from exits-late 1.0 cannot be imported (exits_late:Late): SystemExit: too late"),
        ("usabel", "No extractor is called 'usabel'. Did you mean 'usable'? These are broken and may declare it"),
    ],
)
def test_a_command_on_a_broken_one_says_so_in_one_line(toolkit, plugin, message):
    done = toolkit("show-plugin", "extractor", plugin)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1 and not done.stdout
