"""What the pages in docs/ show is run, loaded or compared: commands, recipes, the plugin, tables, links."""

import csv
import importlib
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import stand_in_bundle
from click.testing import CliRunner
from small_system import write_recipe
from stand_in_bundle import write_bundle

from toolkit.cli.main import main as cli
from toolkit.corpus import Utterance, protocols, read_manifest
from toolkit.corpus.folds import pick_fold
from toolkit.corpus.targets import Target
from toolkit.corpus.utterance import COLUMNS
from toolkit.hookspecs import CONTRACT_VERSION
from toolkit.model.system import build_system
from toolkit.plugins.kinds import KINDS, parts
from toolkit.plugins.registry import default_registry, find_part
from toolkit.plugins.signatures import REQUIRED, read_arguments
from toolkit.recipe.loading import load_recipe
from toolkit.recipe.reading import defaults, known_paths
from toolkit.recipe.schema import CovariateSpec, Recipe
from toolkit.recipe.training import GroupSpec
from toolkit.recipe.yaml_files import read_yaml
from toolkit.testing import assert_contract, check_plugin
from toolkit.training import identity, preparation
from toolkit.training.loop.optimizers import OPTIMIZERS, SCHEDULE_GIVEN, SCHEDULES
from toolkit.training.preparation import load_source, prepare
from toolkit.training.run import Run
from toolkit_plugins.corpora.ravdess import GROUPS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
READMES = [path for folder in ("recipes", "examples") for path in sorted((ROOT / folder).glob("*/README.md"))]
SHOWN = [*PAGES, ROOT / "README.md", *READMES]
SHELL = ("sh", "bash", "console", "shell")


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of a page in some languages."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]


def without_fences(page: Path) -> str:
    """The text of a page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def named(page: Path, language: str) -> dict[str, str]:
    """The blocks that say in their first line where they stand: file -> text."""
    return {text.partition("\n")[0].removeprefix("# "): text for text in blocks(page, language)}


def table(page: Path, header: str, *, after: str = "") -> list[list[str]]:
    """The rows of the first table, after some line, whose first column is called so, without the marks of code."""
    lines = page.read_text().splitlines()
    lines = lines[lines.index(after) :] if after else lines
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {header} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().replace("`", "") for cell in line.strip("|").split("|")])
    return rows


def command_lines() -> list[tuple[str, str]]:
    """Page and command, of every toolkit, python and make command in a shell block or in indented code."""
    found = []
    for page in SHOWN:
        indented = re.findall(r"^ {4}(\S.*)$", without_fences(page), re.MULTILINE)
        for text in [*blocks(page, *SHELL), "\n".join(indented)]:
            for line in text.replace("\\\n", " ").splitlines():
                line = line.removeprefix("$ ").strip()
                if re.match(r"(toolkit|python|make) ", line):
                    found.append((page.relative_to(ROOT).as_posix(), line))
    return found


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
    """A copy of recipes/ with the recipes that the pages show."""
    root = tmp_path_factory.mktemp("root")
    shutil.copytree(ROOT / "recipes", root / "recipes")
    for page in PAGES:
        for name, text in named(page, "yaml").items():
            if (root / name).exists():
                there = (root / name).read_text()
                assert text.partition("\n")[2] == there, f"{page.name} shows another {name} than there is"
            (root / name).write_text(text)
    return root


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
        known = {"split": parts[index % 3]} if recipe.corpus.plugin == "manifest" else {"group": group}
        if recipe.protocol.name != "random":
            known |= {"speaker": speaker, "session": session}
        out.append(Utterance(id=speaker, path=f"{speaker}.wav", label="a", **known))
    return out


def test_the_loss_on_the_page_of_several_processes_keeps_the_contract(tmp_path, monkeypatch):
    (text,) = named(DOCS / "distributed.md", "python").values()
    (tmp_path / "weighted_loss_of_the_page.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert_contract("loss", importlib.import_module("weighted_loss_of_the_page").Weighted)


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
        caught = {}

        def load_source(recipe, tokens, **options):
            caught.update(recipe=recipe, tokens=tokens, **options)
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


def test_the_page_on_recipes_has_every_key_with_its_default(recipes):
    tree = read_yaml(recipes / "recipes/ravdess/hparams/complete.yaml")

    def paths(value, path=()):
        for key, inner in value.items():
            yield (*path, key), inner
            if isinstance(inner, dict):
                yield from paths(inner, (*path, key))

    found = dict(paths(tree))
    assert {".".join(path) for path in found} == {path for path in known_paths(tree) if path}
    for path, default in paths(defaults()):
        if path != ("predict_from",) and not (isinstance(default, dict) and default):
            assert found[path] == default, path
    specs = {"covariates: {}": CovariateSpec, "groups: {}": GroupSpec}
    for line in blocks(DOCS / "recipes.md", "yaml")[0].splitlines():
        for start, spec in specs.items():
            if line.strip().startswith(start):
                assert all(field.name in line for field in fields(spec) if field.name != "where")


def test_the_page_on_recipes_has_every_optimizer_and_schedule_with_its_arguments():
    page = DOCS / "recipes.md"
    found = {row[0]: row[1] for row in table(page, "optimizer")}
    assert found == {name: cls.__name__ for name, cls in OPTIMIZERS.items()}
    rows = {row[0]: re.findall(r"(\w+)(?: \((\w[\w.]*)\))?", row[1]) for row in table(page, "schedule")}
    assert list(rows) == list(SCHEDULES)
    for name, cls in SCHEDULES.items():
        arguments = [a for a in read_arguments(cls, SCHEDULE_GIVEN) if not a.given]
        assert rows[name] == [(a.name, "" if a.default is REQUIRED else f"{a.default:g}") for a in arguments]


def test_what_the_page_on_recipes_says_of_merging_holds(recipes):
    frozen = load_recipe(recipes / "recipes/iemocap/hparams/mtl_frozen.yaml")
    assert list(frozen.model.levels) == ["mfcc", "wav2vec2"] and "spectrogram" not in frozen.model.heads
    assert frozen.model.levels["wav2vec2"].args["tune"] == "frozen"
    assert frozen.model.levels["wav2vec2"].args["source"] == "facebook/wav2vec2-base-960h"
    assert frozen.training.groups["fusion"].learning_rate == 1e-4
    text = "extends: mfcc.yaml\ntraining: {warmup_steps: !ref <training.epochs> * 2}\n"
    (recipes / "recipes/ravdess/hparams/reference.yaml").write_text(text)
    found = load_recipe(recipes / "recipes/ravdess/hparams/reference.yaml", ["--training.epochs=7"])
    assert found.training.warmup_steps == 14


def test_the_table_of_protocols_has_all_of_them_and_says_what_chooses_the_epoch():
    rows = {row[0]: row for row in table(DOCS / "protocols.md", "protocol")}
    assert list(rows) == list(protocols.PROTOCOLS)
    for name, row in rows.items():
        assert row[4].split(",")[0] == protocols.selects_on(name)


def test_the_stamps_on_the_page_are_those_that_are_written():
    said = [row[1] for row in table(DOCS / "protocols.md", "when")]
    constants = ("TEST_EPOCH", "AS_PUBLISHED", "RANDOM", "UNKNOWN_SPEAKERS")
    expected = [getattr(protocols, f"{name}_STAMP") for name in constants]
    assert said[:6] == [*expected, preparation.SYNTHETIC, preparation.REDUCED]


def test_the_table_of_columns_has_all_of_them():
    named_columns = [name for row in table(DOCS / "corpora.md", "column") for name in row[0].split(", ")]
    assert sorted(named_columns) == sorted(COLUMNS) == sorted({f.name for f in fields(Utterance)} - {"extra"})


def test_the_table_of_corpora_has_all_of_them_with_their_variables():
    registry = default_registry()
    rows = {row[0]: row[1] for row in table(DOCS / "corpora.md", "corpus")}
    assert set(rows) == {info.name for info in registry.list_plugins("corpus")}
    for name, variable in rows.items():
        assert (registry.find("corpus", name).load().environment or "-") == variable


def test_the_groups_of_ravdess_are_those_of_the_page():
    listed = "; ".join(", ".join(map(str, group)) for group in GROUPS)
    assert listed in " ".join((DOCS / "corpora.md").read_text().split())


def test_the_manifests_on_the_page_are_read(tmp_path):
    for ending in ("csv", "json"):
        (text,) = blocks(DOCS / "corpora.md", ending)
        (tmp_path / f"my.{ending}").write_text(text)
    rows = read_manifest(tmp_path / "my.csv")
    assert [u.gender for u in rows] == ["F", "M", "F"] and rows[1].extra == {"weather": "wet"}
    assert rows[0].path == tmp_path / "clips" / "a1.wav" and rows[2].path == Path("/data/more/c3.wav")
    (fold,) = protocols.make_folds(rows, "given")
    assert fold.stamp is None
    assert [(u.start, u.end) for u in read_manifest(tmp_path / "my.json")] == [(0.5, 2.25), (7.0, 9.5)]


def test_a_runs_folder_holds_what_the_page_says(tmp_path):
    page = DOCS / "run-folder.md"
    source = load_source(write_recipe(tmp_path), ["--training.epochs=1"])
    folder = Run(prepare(source), say=lambda line: None).train().parent
    files = {row[0].rstrip("/") for row in table(page, "file")}
    assert {path.name for path in folder.iterdir()} | {"tensorboard"} == files
    keys = [key for row in table(page, "key") for key in row[0].split(", ")]
    assert sorted(keys) == sorted(json.loads((folder / "results.json").read_text()))
    text = " ".join(page.read_text().split())
    header = next(csv.reader((folder / "epochs.csv").read_text().splitlines()))
    assert ", ".join(f"`{column}`" for column in header).replace("`epoch`", "`epoch` (from 1)") in text
    header = next(csv.reader((folder / "predictions.csv").read_text().splitlines()))
    assert ", ".join(f"`{column}`" for column in header[:6]) in text and header[6].startswith("p_")
    for keys in identity.IRRELEVANT.values():
        assert all(f"`{key}`" in text for key in keys)
    with np.load(folder / "embeddings.npz") as arrays:
        assert set(arrays) == {"id", "reference", "fused", "mfcc"}
    again = load_recipe(folder / "recipe.yaml")
    assert again == source.recipe, "recipe.yaml can be trained like any recipe"


@pytest.fixture
def audio_of_the_page_on_predicting(tmp_path, monkeypatch) -> Path:
    """The bundles and files that the page names, in the working directory."""
    for name, covariate in (("emotion", ""), ("first", ""), ("second", ""), ("gendered", "{source: label}")):
        write_bundle(tmp_path / f"{name}.zip", covariate=covariate, labels=["ang", "neu"], seed=len(name))
    names = ["talk.wav", "interviews/a.flac", "interviews/b.flac", "interviews/c.flac"]
    (tmp_path / "interviews").mkdir()
    for number, name in enumerate(names):
        samples = 0.2 * np.random.default_rng(number).uniform(-1, 1, (20_000 + number, 2))
        soundfile.write(tmp_path / name, samples, 22_050)
    rows = zip(names, ("angry", "neutral", "calm", "angry"), "FMFM", strict=True)
    lines = ["path,label,gender,sex,start,end", *(f"{name},{label},{sex},{sex},,0.5" for name, label, sex in rows)]
    for name in ("calls.csv", "other.csv"):
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    monkeypatch.setattr("toolkit.inference.bundle.read_bundle", stand_in_bundle.read_bundle)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_on_the_page_on_predicting_do_what_they_are_shown_for(audio_of_the_page_on_predicting):
    shown = [line for page, line in command_lines() if page == "docs/predicting.md"]
    assert len(shown) == 9 and {shlex.split(line)[1] for line in shown} == {"predict", "evaluate", "compare"}
    for line in shown:
        done = CliRunner().invoke(cli, shlex.split(line)[1:], catch_exceptions=False)
        assert (done.exit_code, done.stderr) == (0, ""), line
        assert done.stdout or "--output" in line
    answers = audio_of_the_page_on_predicting / "answers.csv"
    header = answers.read_text().splitlines()[0].split(",")
    columns = [name for row in table(DOCS / "predicting.md", "column") for name in row[0].split(", ")]
    assert [name for name in columns if name not in ("p_<label>", "note")] == header[:5]
    assert header[5:] == ["p_ang", "p_neu"]


def test_the_python_on_the_page_on_predicting_runs(audio_of_the_page_on_predicting, capsys):
    code = "\n".join(blocks(DOCS / "predicting.md", "python"))
    exec(compile(code, "predicting.md", "exec"), {})
    said = capsys.readouterr().out
    assert "0.00 to 0.30 s: " in said and "interviews/c.flac " in said and "fused (8,)" in said


def test_the_python_of_the_tutorial_runs(audio_of_the_page_on_predicting, capsys):
    write_bundle(audio_of_the_page_on_predicting / "emotions.zip", labels=["ang", "neu"])
    soundfile.write("clip.mp3", 0.2 * np.random.default_rng(0).uniform(-1, 1, 20_000), 16_000)
    exec(compile("\n".join(blocks(DOCS / "tutorial.md", "python")), "tutorial.md", "exec"), {})
    assert re.match(r"(ang|neu) \{'ang': 0\.\d+, 'neu': 0\.\d+\}", capsys.readouterr().out)


def test_the_page_of_commands_is_what_help_prints():
    script = runpy.run_path(str(DOCS / "generate_cli.py"))
    assert (DOCS / "cli.md").read_text() == script["page"](), "run: python docs/generate_cli.py"


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


def test_the_tables_on_writing_plugins_are_those_of_the_contract():
    page = DOCS / "writing-a-plugin.md"
    written, asked = table(page, "kind"), table(page, "kind", after="## What each kind has to do")
    assert [tuple(row) for row in written] == [(kind.name, kind.summary) for kind in KINDS.values()]
    assert [row[:2] for row in asked] == [[kind.name, kind.base] for kind in KINDS.values()]
    for kind, base, methods, attributes, given in asked:
        module, name = base.split(":")
        cls = getattr(importlib.import_module(module), name)
        own = {key for key, value in vars(cls).items() if callable(value) and not key.startswith("_")}
        assert set(re.findall(r"\w+", methods)) == own - ({"forward"} if kind == "extractor" else set())
        assert set(re.findall(r"\w+", attributes)) == set(vars(cls).get("__annotations__", {}))
        assert re.findall(r"\w+", given) == list(KINDS[kind].context)
    assert f"This toolkit has contract {CONTRACT_VERSION};" in page.read_text()


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\((?!\w+:)([^)#\s]*)#?([^)\s]*)\)", page.read_text()):
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-")) for heading in headings}


def test_the_index_lists_every_page():
    index = (DOCS / "README.md").read_text()
    assert [page.name for page in PAGES if page.name != "README.md" and f"({page.name})" not in index] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_one_title_and_no_skipped_headings(page):
    text = without_fences(page)
    levels = [len(marks) for marks in re.findall(r"^(#+) ", text, re.MULTILINE)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
