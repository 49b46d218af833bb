"""The distributions under examples/: built as anyone would, they are listed, stay light, and their recipes resolve.

Their own tests (`make examples`) need openSMILE and resemblyzer; what needs them here is skipped where they are not.
"""

import json
import os
import re
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

from toolkit.corpus.targets import Target
from toolkit.errors import PluginError
from toolkit.model.system import build_system
from toolkit.plugins.registry import default_registry
from toolkit.recipe.loading import load_recipe

ROOT = Path(__file__).parents[1]
EXAMPLES = {path.parent.name: path.parent for path in sorted((ROOT / "examples").glob("*/pyproject.toml"))}
RECIPES = [path for folder in EXAMPLES.values() for path in sorted((folder / "recipes").glob("*.yaml"))]
DECLARED = {"opensmile": "audio-classification-opensmile", "resemblyzer": "audio-classification-resemblyzer"}
MODULES = ("opensmile_plugin", "resemblyzer_plugin")
HEAVY = ("torch", "torchaudio", "opensmile", "resemblyzer", "librosa", "pandas")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder with both examples installed, without what they depend on; the sources stay as they are."""
    if find_spec("setuptools") is None:
        pytest.skip("a wheel is built with setuptools")
    site, wheels = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("wheels")
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(wheels)!r})"
    for name, folder in EXAMPLES.items():
        source = tmp_path_factory.mktemp("source") / name
        copytree(folder, source, ignore=ignore_patterns("build", "*.egg-info", "__pycache__"))
        subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    for wheel in wheels.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(site)
    return site


@pytest.fixture
def registry(site, monkeypatch):
    """The registry of a process in which the examples are installed."""

    def forget():
        default_registry.cache_clear()
        for module in [m for m in sys.modules if m.split(".")[0] in MODULES]:
            del sys.modules[module]

    forget()
    monkeypatch.syspath_prepend(site)
    yield default_registry()
    forget()


def own_levels(recipe) -> list:
    """A recipe's levels that an example declares."""
    return [level for level in recipe.model.levels.values() if level.plugin in DECLARED]


def run(site, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(site), "XDG_CACHE_HOME": str(site.parent)}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=True)


def test_both_examples_are_there():
    assert list(EXAMPLES) == ["opensmile-functionals", "resemblyzer-speaker"] and len(RECIPES) == 4


def test_the_examples_are_listed_with_their_distributions(site):
    infos = json.loads(run(site, "-m", "toolkit", "list-plugins", "--json").stdout)
    found = {info["name"]: info for info in infos if info["distribution"] in DECLARED.values()}
    assert {name: info["distribution"] for name, info in found.items()} == DECLARED
    assert {(info["kind"], info["status"]) for info in found.values()} == {("extractor", "ok")}


def test_listing_them_imports_nothing_heavy(site):
    code = "import sys; from toolkit.plugins.registry import default_registry as r; r().list_plugins(); "
    code += (
        f"import {MODULES[0]}, {MODULES[1]}; print([m for m in {HEAVY!r} if m in sys.modules], {MODULES[0]}.__file__)"
    )
    assert run(site, "-c", code).stdout.startswith(f"[] {site}")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_resolves_to_the_plugin_of_its_own_distribution(path, registry):
    (level,) = own_levels(load_recipe(path))
    assert registry.find("extractor", level.plugin, level.where).declaration.distribution == DECLARED[level.plugin]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_builds_where_what_it_stands_on_is_installed(path, registry):
    recipe = load_recipe(path)
    (level,) = own_levels(recipe)
    if find_spec(level.plugin) is None:
        pytest.skip(f"{level.plugin} is not installed: `make examples` tests {path.parts[-3]} with it")
    registry.find("extractor", level.plugin, level.where).check_args(level.args)
    system = build_system(recipe, Target.by_name({"label": "abcdefgh"}))
    assert set(system.heads) == {"emotion"}


@pytest.mark.skipif(find_spec("resemblyzer") is not None, reason="resemblyzer is installed")
def test_without_resemblyzer_a_system_is_refused_in_one_line_that_says_what_to_install(registry):
    with pytest.raises(PluginError, match=r"`pip install --no-deps resemblyzer==0\.1\.4`") as caught:
        build_system(
            load_recipe(EXAMPLES["resemblyzer-speaker"] / "recipes/speaker.yaml"), Target.by_name({"label": "ab"})
        )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_commands_of_a_readme_name_recipes_that_are_there(name):
    text = (EXAMPLES[name] / "README.md").read_text()
    named = set(re.findall(r"examples/[\w/.-]+\.yaml", text))
    assert named == {path.relative_to(ROOT).as_posix() for path in RECIPES if path.is_relative_to(EXAMPLES[name])}
