"""Who may know whom: the lines of the design, held by looking at every import and by importing what must stay light."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from small_system import write_recipe

import toolkit

ROOT = Path(toolkit.__file__).parent.parent
PLUGINS = ROOT / "plugins"
HEAVY = ("torch", "torchaudio", "torchvision", "transformers", "speechbrain")
LIGHT = (
    "toolkit",
    "toolkit.errors",
    "toolkit.hookspecs",
    "toolkit.cli",
    "toolkit.corpus",
    "toolkit.corpus_checks",
    "toolkit.preparation",
    "toolkit.protocols",
    "toolkit.recipe",
    "toolkit.registry",
    "toolkit.bundle",
    "toolkit.bundle.card",
    "toolkit.bundle.summary",
    "toolkit.cache_command",
    "toolkit.cache_shards",
    "toolkit.cache_store",
    "toolkit.commands",
    "toolkit.plugin_commands",
    "toolkit.plugin_pages",
    "toolkit.bundle_commands",
    "toolkit.predict.command",
    "toolkit.predict.evaluation",
    "toolkit.predict.pairing",
    "toolkit.report",
    "toolkit.scaffold",
    "toolkit.statistics",
    "toolkit.usage",
    "toolkit.experiment.command",
    "toolkit.experiment.outcome",
    "toolkit.experiment.tasks",
    "toolkit.experiment.workers",
    "toolkit.experiment.cluster",
    "toolkit_plugins.corpora",
    "toolkit_plugins.extractors",
    "toolkit_plugins.fusions",
    "toolkit_plugins.heads",
    "toolkit_plugins.losses",
)
SPEECHBRAIN = ("toolkit.brain", "toolkit.checkpoints")
PLUGINS_KNOW = ("toolkit", "toolkit.contracts", "toolkit.distributed", "toolkit.errors", "toolkit.pooling")
CORPORA_KNOW = ("toolkit.corpus",)


def modules(folder, base):
    """Name of each module below a folder -> its file."""
    found = {}
    for file in sorted(folder.rglob("*.py")):
        parts = file.relative_to(base).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


CORE = modules(ROOT / "toolkit", ROOT)
FIRST_PARTY = modules(PLUGINS / "toolkit_plugins", PLUGINS)
SCRIPTS = {str(file.relative_to(ROOT)): file for file in sorted((ROOT / "recipes").rglob("*.py"))}
LIGHT_FILES = [
    *[name for name in LIGHT if name in CORE or name in FIRST_PARTY],
    *[name for name in FIRST_PARTY if name.startswith("toolkit_plugins.corpora.")],
]


def imports(file, *, at_import_only=False):
    """The modules that a file imports: anywhere in it, or only outside of functions."""
    found = []
    todo = list(ast.parse(file.read_text(encoding="utf-8")).body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            found.append(node.module)
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif not (at_import_only and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))):
            todo += list(ast.iter_child_nodes(node))
    return found


def top(name):
    return name.partition(".")[0]


def test_there_is_something_to_look_at():
    assert "toolkit.registry" in CORE
    assert "toolkit_plugins.corpora" in FIRST_PARTY


@pytest.mark.parametrize("name", ["toolkit.errors", "toolkit.hookspecs"])
def test_errors_and_hookspecs_know_the_standard_library_and_pluggy(name):
    allowed = {*sys.stdlib_module_names, "pluggy"} - ({"pluggy"} if name == "toolkit.errors" else set())
    assert {top(imported) for imported in imports(CORE[name])} <= allowed


@pytest.mark.parametrize("name", LIGHT_FILES)
def test_light_modules_import_nothing_heavy_themselves(name):
    file = CORE.get(name) or FIRST_PARTY[name]
    assert not [imported for imported in imports(file, at_import_only=True) if top(imported) in HEAVY]


def test_light_modules_import_nothing_heavy_through_others():
    code = f"""
import importlib, json, sys
found = {{}}
for name in {LIGHT_FILES!r}:
    importlib.import_module(name)
    heavy = [h for h in {HEAVY!r} if h in sys.modules]
    if heavy:
        found[name] = heavy
        break
print(json.dumps(found))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(done.stdout) == {}


@pytest.mark.parametrize(
    ("arguments", "module"),
    [
        (["--help"], "toolkit.cli"),
        (["list-plugins"], "toolkit.registry"),
        (["list-plugins", "--json"], "toolkit.registry"),
        (["show-plugin", "zzz"], "toolkit.registry"),
        (["check-plugin", "zzz"], "toolkit.registry"),
        (["new-plugin", "head", "toolkit"], "toolkit.scaffold"),
        (["cache", "info"], "toolkit.cache_command"),
        (["cache", "clear", "zzz"], "toolkit.cache_command"),
        (["status", "FOLDER"], "toolkit.experiment.command"),
        (["check-data", "FOLDER/small.yaml"], "toolkit.corpus_checks"),
    ],
)
def test_light_commands_import_nothing_heavy(tmp_path, arguments, module):
    write_recipe(tmp_path)
    arguments = [argument.replace("FOLDER", str(tmp_path)) for argument in arguments]
    code = f"""
import sys
from toolkit.cli import main
try:
    main({arguments!r})
except SystemExit:
    pass
assert {module!r} in sys.modules
sys.exit(any(heavy in sys.modules for heavy in {HEAVY!r}))
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT).returncode == 0


@pytest.mark.parametrize("name", [*CORE, *FIRST_PARTY])
def test_only_the_loop_knows_speechbrain(name):
    file = CORE.get(name) or FIRST_PARTY[name]
    if name not in SPEECHBRAIN:
        assert "speechbrain" not in {top(imported) for imported in imports(file)}


@pytest.mark.parametrize("name", CORE)
def test_the_core_never_imports_the_first_party_plugins(name):
    assert "toolkit_plugins" not in {top(imported) for imported in imports(CORE[name])}


@pytest.mark.parametrize("name", SCRIPTS)
def test_recipes_import_no_plugins(name):
    assert "toolkit_plugins" not in {top(imported) for imported in imports(SCRIPTS[name])}


@pytest.mark.parametrize("name", FIRST_PARTY)
def test_plugins_know_the_contracts_and_their_own_family(name):
    family = ".".join(name.split(".")[:2])
    core = (*PLUGINS_KNOW, *(CORPORA_KNOW if family == "toolkit_plugins.corpora" else ()))
    for imported in imports(FIRST_PARTY[name]):
        module = imported if imported in CORE or imported in FIRST_PARTY else imported.rpartition(".")[0]
        if top(imported) == "toolkit":
            assert module in core
        elif top(imported) == "toolkit_plugins":
            assert f"{module}.".startswith(f"{family}.")
