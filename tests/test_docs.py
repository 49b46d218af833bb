"""What the pages in docs/ show is run, loaded or compared: commands, recipes, the example plugin."""

import json
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from pages import DOCS, PAGES, ROOT, SHOWN, blocks, command_lines, copy_of_recipes, named, without_fences

from toolkit.cli.main import main as cli
from toolkit.corpus import Utterance, protocols
from toolkit.corpus.folds import pick_fold
from toolkit.corpus.targets import Target
from toolkit.model.system import build_system
from toolkit.plugins.kinds import parts
from toolkit.plugins.registry import default_registry, find_part
from toolkit.recipe.loading import load_recipe
from toolkit.recipe.schema import Recipe
from toolkit.testing import check_plugin
from toolkit.training import preparation
from toolkit.training.preparation import load_source, prepare
from toolkit.training.run import Run
from toolkit_plugins.corpora.ravdess import GROUPS


@pytest.fixture(scope="module", autouse=True)
def example(tmp_path_factory):
    """The package of writing-a-plugin.md: begun with its command, filled with its code, installed."""
    page, parent = DOCS / "writing-a-plugin.md", tmp_path_factory.mktemp("example")
    folder, installed = parent / "loudness", parent / "installed"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("IEMOCAP_ROOT", raising=False)
        patch.delenv("RAVDESS_ROOT", raising=False)
        patch.chdir(parent)
        (begin,) = [line for where, line in command_lines() if where == f"docs/{page.name}" and "new-plugin" in line]
        assert CliRunner().invoke(cli, shlex.split(begin)[1:]).exit_code == 0
        for name, text in named(page, "python").items():
            if name != "src/loudness/__init__.py":
                (folder / name).write_text(text)
        offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
        subprocess.run([sys.executable, "-m", "pip", "install", *offline, "--target", installed, folder], check=True)
        patch.syspath_prepend(installed)
        patch.chdir(ROOT)
        default_registry.cache_clear()
        yield folder
    default_registry.cache_clear()
    for module in [m for m in sys.modules if m.split(".")[0] == "loudness"]:
        del sys.modules[module]


@pytest.fixture(scope="module")
def recipes(tmp_path_factory) -> Path:
    return copy_of_recipes(tmp_path_factory.mktemp("root"))


SHOWN_RECIPES = [(page.name, name) for page in PAGES for name in named(page, "yaml")]


def check_arguments(recipe: Recipe) -> None:
    """All plugins of a recipe are there and take their arguments."""
    for kind, _, part in parts(recipe):
        find_part(kind.name, part).check_args(part.args)


def imagined(recipe: Recipe) -> list[Utterance]:
    """Utterances with the speakers of the recipe's corpus, for its folds; any corpus for a manifest."""
    if recipe.corpus.plugin == "ravdess":
        pairs = [(str(actor), None, str(number)) for number, group in enumerate(GROUPS, 1) for actor in group]
    else:
        pairs = [(f"{n}{gender}", f"Session{n}", None) for n in range(1, 6) for gender in "MF"]
    parts, out = ("train", "valid", "test"), []
    for index, (speaker, session, group) in enumerate(pairs):
        known = {"split": parts[index % 3]} if recipe.protocol.name == "given" else {"group": group}
        if recipe.protocol.name != "random":
            known |= {"speaker": speaker, "session": session}
        out.append(Utterance(id=speaker, path=f"{speaker}.wav", label="a", **known))
    return out


def test_there_are_commands_and_recipes_to_look_at():
    assert len(command_lines()) > 12 and len(SHOWN_RECIPES) >= 4


@pytest.mark.parametrize(("page", "line"), command_lines())
def test_a_command_on_a_page_is_valid_as_written(page, line, monkeypatch, tmp_path, example):
    words = shlex.split(re.sub(r"\$(IEMOCAP_ROOT|RAVDESS_ROOT|WHISPER_TINY_EN)", str(tmp_path), line), comments=True)
    assert "$" not in " ".join(words)
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return
    if words[0] == "python" and words[1] == "-m":
        words = words[2:]
    search_folder = example if page == "docs/writing-a-plugin.md" else None
    if words[0] == "python":
        script = ROOT / words[1]
        assert script.is_file()
        if not (script.name == "train.py" and script.is_relative_to(ROOT / "recipes")):
            return
        search_folder, words = script.parent, ["toolkit", "train", *words[2:]]
    if words[0] == "toolkit":
        check_command(words[1:], search_folder, monkeypatch)


def check_command(words: list[str], search_folder: Path | None, monkeypatch) -> None:
    """Options exist; where there is a recipe it loads, with and without data, and has the fold."""
    command = cli.commands[words[0]]
    if words[0] in ("list-plugins", "show-plugin", "check-plugin"):
        result = CliRunner().invoke(cli, words)
        assert result.exit_code == 0, result.output
    elif words[0] in ("train", "check-data"):
        caught, written = {}, {"my.yaml": "speech/functionals"}  # as new-recipe writes it

        def load_source(recipe, tokens, **options):
            caught.update(recipe=written.get(recipe, recipe), tokens=tokens, **options)
            raise KeyboardInterrupt

        monkeypatch.setattr(preparation, "load_source", load_source)
        result = CliRunner().invoke(command, words[1:], obj=search_folder)
        assert caught, result.output
        manifest = caught["manifest"]
        more = ["--corpus.plugin=manifest", f"--corpus.args.path={manifest}"] if manifest else []
        for data_available in (True, False):
            recipe = load_recipe(
                caught["recipe"],
                [*caught["tokens"], *more],
                data_available=data_available,
                search_folder=caught["search_folder"],
            )
            check_arguments(recipe)
            folds = protocols.make_folds(imagined(recipe), recipe.protocol.name, **recipe.protocol.args)
            pick_fold(folds, recipe.fold)
    else:
        options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        if words[0] == "experiment":
            given = {option for option in given if "." not in option}  # a recipe's keys
        assert given <= options


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_command_in_running_text_exists(page):
    text = without_fences(page)
    for words in re.findall(r"`toolkit ([^`]+)`", text):
        command, *rest = shlex.split(words)
        assert command in cli.commands, words
        if command == "show-plugin" and rest and rest[-1] != "NAME" and "examples" not in page.parts:
            assert CliRunner().invoke(cli, [command, *rest]).exit_code == 0


@pytest.mark.parametrize(("page", "name"), SHOWN_RECIPES)
def test_a_recipe_on_a_page_loads_with_and_without_data_and_can_be_built(page, name, recipes):
    assert re.fullmatch(r"recipes/\w+/hparams/\w+\.yaml", name), "its first line says where the file stands"
    for data_available in (True, False):
        recipe = load_recipe(recipes / name, data_available=data_available)
        check_arguments(recipe)
        assert recipe.name == Path(name).stem
    system = build_system(recipe, Target.by_name({"label": ("a", "b", "c"), "gender": ("F", "M")}))
    assert set(system.heads) == set(recipe.model.heads)


def test_the_example_plugin_is_listed_with_its_distribution():
    result = CliRunner().invoke(cli, ["list-plugins", "--kind", "extractor", "--json"])
    (info,) = [info for info in json.loads(result.stdout) if info["name"] == "loudness"]
    assert (info["distribution"], info["version"], info["status"]) == ("loudness", "0.1.0", "ok")
    shown = CliRunner().invoke(cli, ["show-plugin", "loudness:loudness"]).output
    assert "length of a frame, in seconds." in shown and "Given by the system: sample_rate" in shown


def test_the_example_plugins_own_tests_pass(example):
    space = runpy.run_path(str(example / "tests" / "test_loudness.py"))
    tests = [value for name, value in space.items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        test()


def test_the_example_plugin_trains_with_the_recipe_it_came_with(example, tmp_path):
    small = [f"--output_folder={tmp_path}", "--training.epochs=1", "--corpus.args.utterances_per_speaker=4"]
    results = Run(prepare(load_source(example / "loudness.yaml", small)), say=lambda line: None).train()
    assert json.loads(results.read_text())["system"] == "loudness"


def test_the_files_of_the_example_are_those_that_are_listed_and_shown(example):
    page = DOCS / "writing-a-plugin.md"
    listed = re.findall(r"^  (\S+)", blocks(page, "text")[0], re.MULTILINE)
    written = [path for path in example.rglob("*") if path.is_file() and not {"build", "__pycache__"} & set(path.parts)]
    paths = {path.relative_to(example).as_posix() for path in written if ".egg-info" not in str(path)}
    assert paths == set(listed) >= set(named(page, "python"))
    declared = named(page, "python")["src/loudness/__init__.py"].partition("\n")[2]
    assert declared == (example / "src" / "loudness" / "__init__.py").read_text()
    assert named(page, "toml")["pyproject.toml"].partition("\n")[2] in (example / "pyproject.toml").read_text()


def test_what_the_page_shows_of_a_broken_class_is_what_is_found(example):
    source = (example / "src" / "loudness" / "extractor.py").read_text()
    assert source.count("wave = wave.zeroed()") == 1
    space = {"__name__": "broken_loudness"}
    exec(source.replace("wave = wave.zeroed()", "wave = wave"), space)
    shown = blocks(DOCS / "writing-a-plugin.md", "text")[1].strip()
    assert shown in [str(finding) for finding in check_plugin("extractor", space["Loudness"])]
