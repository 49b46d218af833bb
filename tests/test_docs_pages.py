"""What the pages in docs/ say is what there is: tables, keys, columns, stamps, links, Python that can be copied."""

import csv
import importlib
import json
import re
import runpy
import shlex
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import stand_in_bundle
from click.testing import CliRunner
from pages import DOCS, PAGES, ROOT, SHOWN, blocks, command_lines, copy_of_recipes, named, table, without_fences
from small_system import write_recipe
from stand_in_bundle import write_bundle

from toolkit.cli.main import main as cli
from toolkit.corpus import Utterance, protocols, read_manifest
from toolkit.corpus.utterance import COLUMNS
from toolkit.hookspecs import CONTRACT_VERSION
from toolkit.plugins.kinds import KINDS
from toolkit.plugins.registry import default_registry
from toolkit.plugins.scaffold import render_package, template_values
from toolkit.plugins.signatures import REQUIRED, read_arguments
from toolkit.recipe.loading import load_recipe
from toolkit.recipe.reading import defaults, known_paths
from toolkit.recipe.schema import AugmentationSpec, CovariateSpec
from toolkit.recipe.training import GroupSpec
from toolkit.recipe.yaml_files import read_yaml
from toolkit.testing import assert_contract
from toolkit.training import preparation, run_folder
from toolkit.training.loop.optimizers import OPTIMIZERS, SCHEDULE_GIVEN, SCHEDULES
from toolkit.training.preparation import load_source, prepare
from toolkit.training.run import Run
from toolkit_plugins.corpora.ravdess import GROUPS


@pytest.fixture(scope="module")
def recipes(tmp_path_factory) -> Path:
    return copy_of_recipes(tmp_path_factory.mktemp("root"))


def test_the_loss_on_the_page_of_several_processes_keeps_the_contract(tmp_path, monkeypatch):
    (text,) = named(DOCS / "distributed.md", "python").values()
    (tmp_path / "weighted_loss_of_the_page.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert_contract("loss", importlib.import_module("weighted_loss_of_the_page").Weighted)


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
    specs = {"covariates: {}": CovariateSpec, "groups: {}": GroupSpec, "augmentations: {}": AugmentationSpec}
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
        arguments = [a for a in read_arguments(cls) if a.name not in SCHEDULE_GIVEN]
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
    expected = [*protocols.STAMPS.values(), protocols.UNKNOWN_SPEAKERS_STAMP]
    assert said[:8] == [*expected, preparation.SHARED_AUDIO, preparation.SYNTHETIC, preparation.REDUCED]


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
    assert {path.name for path in folder.iterdir()} | {"tensorboard", "trackers.json"} == files
    keys = [key for row in table(page, "key") for key in row[0].split(", ")]
    assert sorted(keys) == sorted(json.loads((folder / "results.json").read_text()))
    text = " ".join(page.read_text().split())
    header = next(csv.reader((folder / "epochs.csv").read_text().splitlines()))
    assert ", ".join(f"`{column}`" for column in header).replace("`epoch`", "`epoch` (from 1)") in text
    header = next(csv.reader((folder / "predictions.csv").read_text().splitlines()))
    assert ", ".join(f"`{column}`" for column in header[:6]) in text and header[6].startswith("p_")
    for keys in run_folder.IRRELEVANT.values():
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
    assert len(shown) == 15 and {shlex.split(line)[1] for line in shown} == {"predict", "evaluate", "compare", "stress"}
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


def test_the_tables_on_writing_plugins_are_those_of_the_contract():
    page = DOCS / "writing-a-plugin.md"
    written, asked = table(page, "kind"), table(page, "kind", after="## What each kind has to do")
    packages = {kind.name: render_package(template_values(kind, "mine")) for kind in KINDS.values()}
    summaries = [(kind, files[f"src/mine/{kind}.py"].splitlines()[0].strip('".')) for kind, files in packages.items()]
    assert [tuple(row) for row in written] == summaries
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
