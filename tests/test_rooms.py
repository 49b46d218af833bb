"""Who may import whom: every import is looked at, and what must stay light is imported."""

import ast
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from small_system import write_recipe

import toolkit

ROOT = Path(toolkit.__file__).parent.parent
PLUGINS = ROOT / "plugins"
HEAVY = ("torch", "torchaudio", "torchvision", "transformers", "speechbrain")
# From the top floor down: a room imports what stands below it, never what stands beside or above it.
FLOORS = (
    "__main__",
    "cli",
    "__init__",
    "inference",
    "report",
    "experiment",
    "training",
    "data",
    "model",
    "testing",
    "plugins",
    "corpus",
    "recipe",
    "audio",
    "statistics",
    "distributed",
    "hardware",
    "contracts",
    "terminal",
    "hookspecs",
    "files",
    "errors",
)
LIGHT = ("report", "plugins", "corpus", "recipe", "statistics", "terminal", "hookspecs", "files", "errors")
LIGHT_PLUGINS = ("augmentations", "corpora", "extractors", "fusions", "heads", "losses")
LOOP = "toolkit.training.loop"
PLUGINS_KNOW = (
    "toolkit",
    "toolkit.contracts",
    "toolkit.distributed",
    "toolkit.errors",
    "toolkit.model.pooling",
    "toolkit.model.scaling",
)
FAMILIES_KNOW = {
    "toolkit_plugins.corpora": ("toolkit.corpus", "toolkit.files"),
    "toolkit_plugins.augmentations": ("toolkit.audio.reading", "toolkit.audio.waves"),
}


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
LIGHT_MODULES = [
    "toolkit.cli.main",
    *[name for name in CORE if name.split(".")[1:2] and name.split(".")[1] in LIGHT],
    *[f"toolkit_plugins.{family}" for family in LIGHT_PLUGINS],
    *[name for name in FIRST_PARTY if name.startswith("toolkit_plugins.corpora.")],
]


@cache
def tree(file):
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def imports(file, *, at_import_only=False):
    """The modules that a file imports: anywhere in it, or only outside of functions."""
    found = []
    todo = list(tree(file).body)
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


def room(name):
    """The room of a core module: the package or file of `toolkit/` that holds it."""
    return name.split(".")[1] if "." in name else "__init__"


def core_modules(file):
    """The core modules that a file imports; a package only where no module of it is imported."""
    found = {name if name in CORE else name.rpartition(".")[0] for name in imports(file) if top(name) == "toolkit"}
    return {name for name in found if not any(other.startswith(f"{name}.") for other in found)}


def test_every_name_in_the_core_has_its_floor():
    assert sorted(FLOORS) == sorted({room(name) for name in CORE})


@pytest.mark.parametrize("name", CORE)
def test_a_room_imports_only_what_stands_below_it(name):
    below = FLOORS[FLOORS.index(room(name)) + 1 :]
    others = {room(module) for module in core_modules(CORE[name])} - {room(name), "__init__"}
    assert others <= set(below)


def test_modules_import_each_other_in_no_circle():
    # `toolkit` itself is left out: what it imports beside the hook, `load` imports when it is called.
    arrows = {name: set(core_modules(file)) & set(CORE) - {name, "toolkit"} for name, file in CORE.items()}
    done: set[str] = set()
    while ready := [name for name, targets in arrows.items() if name not in done and targets <= done]:
        done.update(ready)
    assert set(arrows) - done == set()


def test_no_file_is_longer_than_300_lines():
    files = [*CORE.values(), *FIRST_PARTY.values()]
    assert not [str(file) for file in files if len(file.read_text(encoding="utf-8").splitlines()) > 300]


@pytest.mark.parametrize("name", ["toolkit.errors", "toolkit.hookspecs"])
def test_errors_and_hookspecs_know_the_standard_library_and_pluggy(name):
    allowed = {*sys.stdlib_module_names, "pluggy"} - ({"pluggy"} if name == "toolkit.errors" else set())
    assert {top(imported) for imported in imports(CORE[name])} <= allowed


@pytest.mark.parametrize("name", LIGHT_MODULES)
def test_light_modules_import_nothing_heavy_themselves(name):
    file = CORE.get(name) or FIRST_PARTY[name]
    assert not [imported for imported in imports(file, at_import_only=True) if top(imported) in HEAVY]


def test_light_modules_import_nothing_heavy_through_others():
    code = f"""
import importlib, json, sys
found = {{}}
for name in {LIGHT_MODULES!r}:
    importlib.import_module(name)
    heavy = [h for h in {HEAVY!r} if h in sys.modules]
    if heavy:
        found[name] = heavy
        break
print(json.dumps(found))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(done.stdout) == {}


LIGHT_COMMANDS = [
    (["--help"], "toolkit.cli.main"),
    (["list-plugins"], "toolkit.plugins.registry"),
    (["list-plugins", "--json"], "toolkit.plugins.registry"),
    (["show-plugin", "zzz"], "toolkit.plugins.registry"),
    (["check-plugin", "zzz"], "toolkit.plugins.registry"),
    (["new-plugin", "head", "toolkit"], "toolkit.plugins.scaffold"),
    (["cache", "info"], "toolkit.cli.cache"),
    (["cache", "clear", "zzz"], "toolkit.cli.cache"),
    (["status", "FOLDER"], "toolkit.experiment.command"),
]


def test_light_commands_import_nothing_heavy(tmp_path):
    write_recipe(tmp_path)
    commands = [([word.replace("FOLDER", str(tmp_path)) for word in words], module) for words, module in LIGHT_COMMANDS]
    code = f"""
import json, sys
from toolkit.cli.main import main
found = []
for words, module in {commands!r}:
    try:
        main(words)
    except SystemExit:
        pass
    if module not in sys.modules or any(heavy in sys.modules for heavy in {HEAVY!r}):
        found.append(words)
print("\\n" + json.dumps(found))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(done.stdout.splitlines()[-1]) == []


@pytest.mark.parametrize("name", [*CORE, *FIRST_PARTY])
def test_only_the_loop_knows_speechbrain(name):
    file = CORE.get(name) or FIRST_PARTY[name]
    if not name.startswith(LOOP):
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
    core = (*PLUGINS_KNOW, *FAMILIES_KNOW.get(family, ()))
    for imported in imports(FIRST_PARTY[name]):
        module = imported if imported in CORE or imported in FIRST_PARTY else imported.rpartition(".")[0]
        if top(imported) == "toolkit":
            assert module in core
        elif top(imported) == "toolkit_plugins":
            assert f"{module}.".startswith(f"{family}.")


@pytest.mark.parametrize("name", [*CORE, *FIRST_PARTY])
def test_whether_a_file_is_there_is_asked_in_a_way_that_never_raises(name):
    """os.path.isfile is false where Path.is_file raises: for loops of links, long names, NUL."""
    nodes = ast.walk(tree(CORE.get(name) or FIRST_PARTY[name]))
    called = [node.func.attr for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    assert not {"is_file", "resolve"}.intersection(called)
