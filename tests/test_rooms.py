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
    "testing",
    "model",
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
MODULES = CORE | FIRST_PARTY
SCRIPTS = {str(file.relative_to(ROOT)): file for file in sorted((ROOT / "recipes").rglob("*.py"))}
LIGHT_MODULES = [
    "toolkit.cli.main",
    "toolkit.audio",
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


def test_a_room_imports_only_what_stands_below_it():
    above = []
    for name, file in CORE.items():
        allowed = {room(name), "__init__", *FLOORS[FLOORS.index(room(name)) + 1 :]}
        above += [(name, imported) for imported in core_modules(file) if room(imported) not in allowed]
    assert not above


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


def test_light_modules_import_nothing_heavy_themselves():
    found = {name: {*map(top, imports(MODULES[name], at_import_only=True))} & {*HEAVY} for name in LIGHT_MODULES}
    assert not [name for name, heavy in found.items() if heavy]


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
    heavy = {HEAVY!r} if words[0] == "status" else ("numpy", *{HEAVY!r})
    if module not in sys.modules or any(name in sys.modules for name in heavy):
        found.append(words)
print("\\n" + json.dumps(found))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(done.stdout.splitlines()[-1]) == []


def importers(package, files):
    """The names of the files that import a package."""
    return {name for name, file in files.items() if package in map(top, imports(file))}


def test_only_the_loop_knows_speechbrain():
    found = importers("speechbrain", MODULES)
    assert found and all(name.startswith(LOOP) for name in found)


def test_the_core_and_the_recipes_never_import_the_first_party_plugins():
    assert SCRIPTS and not importers("toolkit_plugins", CORE | SCRIPTS)


def test_plugins_know_the_contracts_and_their_own_family():
    unknown = []
    for name, file in FIRST_PARTY.items():
        family = ".".join(name.split(".")[:2])
        core = (*PLUGINS_KNOW, *FAMILIES_KNOW.get(family, ()))
        for imported in imports(file):
            module = imported if imported in MODULES else imported.rpartition(".")[0]
            own = top(imported) != "toolkit_plugins" or f"{module}.".startswith(f"{family}.")
            if not own or (top(imported) == "toolkit" and module not in core):
                unknown.append((name, imported))
    assert not unknown


def test_whether_a_file_is_there_is_asked_in_a_way_that_never_raises():
    """os.path.isfile is false where Path.is_file raises: for loops of links, long names, NUL."""
    asking = set()
    for name, file in MODULES.items():
        calls = [node.func for node in ast.walk(tree(file)) if isinstance(node, ast.Call)]
        asking |= {name for call in calls if isinstance(call, ast.Attribute) and call.attr in ("is_file", "resolve")}
    assert not asking
