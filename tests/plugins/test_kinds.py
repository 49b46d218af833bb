"""A further kind of plugin costs a record, a folder of templates and a contract suite."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from throwaway import install

from toolkit.cli.main import main
from toolkit.plugins import scaffold
from toolkit.plugins.kinds import KINDS, Kind, parts
from toolkit.plugins.registry import default_registry, find_part
from toolkit.recipe.loading import load_recipe
from toolkit.recipe.schema import PartSpec

CORE = '''
from dataclasses import dataclass
from typing import ClassVar

from toolkit.testing import Case, contract, require


class Windower:
    """Base of all windowers. Context argument: sample_rate (Hz)."""


@dataclass(frozen=True)
class WindowerCase(Case):
    kind: ClassVar[str] = "windower"

    def context(self):
        return {"sample_rate": 8000}

    @contract
    def windows_fit(self):
        """A window is at least a sample."""
        require(self.build().samples >= 1, "no sample in a window")
'''
COMPONENT = '''"""Windows of one length."""

from core_of_windowers import Windower


class {{ class_name }}(Windower):
    """{{ summary }}.

    Args:
        seconds: length of a window.
    """

    def __init__(self, *, sample_rate: int, seconds: float = 1.0):
        self.samples = round(sample_rate * seconds)
'''


@pytest.fixture
def windower(tmp_path, monkeypatch):
    """A further kind."""
    (tmp_path / "core_of_windowers.py").write_text(CORE)
    templates = shutil.copytree(scaffold.TEMPLATES, tmp_path / "templates")
    (templates / "windower/src/MODULE").mkdir(parents=True)
    (templates / "windower/src/MODULE/windower.py.j2").write_text(COMPONENT)
    (templates / "windower/NAME.yaml.j2").write_text("windower: {plugin: {{ name }}}\n")
    kind = Kind(
        name="windower",
        base="core_of_windowers:Windower",
        context=("sample_rate",),
        recipe="model.windower",
        suite="core_of_windowers:WindowerCase",
    )
    monkeypatch.setattr(scaffold, "TEMPLATES", templates)
    monkeypatch.setitem(KINDS, kind.name, kind)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    default_registry.cache_clear()
    yield kind
    default_registry.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] in ("core_of_windowers", "even")]:
        del sys.modules[name]


def run(*words):
    return CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)


def test_a_further_kind_is_written_listed_shown_checked_and_built(windower, tmp_path, monkeypatch):
    written = run("new-plugin", "windower", "even", "--output", tmp_path / "package")
    assert written.exit_code == 0 and "toolkit check-plugin windower even" in written.output
    assert (tmp_path / "package" / "even.yaml").read_text() == "windower: {plugin: even}\n"

    source = tmp_path / "package" / "src"
    install(tmp_path, "even", "", entry_points="[toolkit]\nplugins = even\n")
    monkeypatch.syspath_prepend(source)
    default_registry.cache_clear()

    (info,) = json.loads(run("list-plugins", "--kind", "windower", "--json").stdout)
    assert (info["name"], info["status"], info["summary"]) == ("even", "ok", "Windows of one length")
    shown = run("show-plugin", "even").output
    assert "length of a window." in shown and "Given by the system: sample_rate" in shown
    assert run("check-plugin", "even", "--args", "{seconds: 0.5}").output.endswith("All 3 hold.\n")
    broken = run("check-plugin", "even", "--args", "{seconds: 0.0}")
    assert broken.exit_code == 1 and "found: no sample in a window" in broken.output

    part = PartSpec(plugin="even", args={"seconds": 0.25})
    assert find_part("windower", part).build(part.args, {"sample_rate": 8000}).samples == 2000


def test_the_parts_of_a_recipe_are_found_by_kind():
    recipe = load_recipe(
        Path(__file__).parents[2] / "recipes/iemocap/hparams/mtl_cr.yaml", ["--augmentations.noise=noise"]
    )
    found = [(kind.name, location) for kind, location, _ in parts(recipe)]
    assert found[:3] == [("extractor", f"model.levels.{name}") for name in recipe.model.levels]
    assert ("fusion", "model.fusion") in found and found[-1] == ("corpus", "corpus")
    assert {kind for kind, _ in found} == set(KINDS)
