"""A run's identity changes with what can change its result, and with nothing else."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from throwaway import good, install

from toolkit.corpus import Utterance
from toolkit.plugins.registry import code_version
from toolkit.training.run_folder import manifest_rows, run_hash

RECIPE = {
    "name": "a",
    "output_folder": "x",
    "data_folder": "y",
    "training": {"epochs": 3, "device": "cpu", "workers": 0},
}


@pytest.mark.parametrize(
    "change",
    [
        {"output_folder": "z"},
        {"data_folder": "z"},
        {"training": {"epochs": 3, "device": "cuda", "workers": 4}},
    ],
)
def test_where_a_run_is_computed_does_not_change_its_identity(change):
    assert run_hash(RECIPE | change, [], {}) == run_hash(RECIPE, [], {})


@pytest.mark.parametrize(
    ("recipe", "rows", "versions"),
    [
        (RECIPE | {"training": {"epochs": 4}}, [], {}),
        (RECIPE, [{"id": "u", "label": "ang"}], {}),
        (RECIPE, [], {"plugins": "1.0"}),
    ],
)
def test_settings_manifest_and_code_change_the_identity(recipe, rows, versions):
    assert run_hash(recipe, rows, versions) != run_hash(RECIPE, [], {})


@pytest.mark.parametrize("family", ["levels", "covariates", "heads", "losses"])
def test_the_order_of_a_models_parts_counts_since_their_weights_are_drawn_in_it(family):
    one, other = ({"model": {family: {name: {} for name in order}}} for order in ("ab", "ba"))
    assert run_hash(one, [], {}) != run_hash(other, [], {})


def test_a_corpus_that_was_moved_is_the_same_corpus():
    def rows(root: str) -> list:
        names = ("S1/a.wav", "S2/b.wav")
        return manifest_rows([Utterance(id=n, path=Path(root) / n, label="ang") for n in names])

    assert rows("/data/corpus") == rows("/mnt/elsewhere")


@pytest.mark.parametrize(
    "change",
    [
        {"id": "other"},
        {"label": "hap"},
        {"start": 0.5},
        {"end": 0.5},
        {"speaker": "two"},
        {"gender": "M"},
        {"extra": {"room": "2"}},
        {"path": Path("/data/S1/c.wav")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_field_of_an_utterance_changes_the_rows_of_its_corpus(change):
    one = Utterance(id="a", path=Path("/data/S1/a.wav"), label="ang", speaker="one", gender="F", extra={"room": "1"})
    other = Utterance(id="b", path=Path("/data/S2/b.wav"), label="ang")
    assert manifest_rows([replace(one, **change), other]) != manifest_rows([one, other])


@pytest.mark.parametrize(
    "origin",
    [{"dir_info": {"editable": True}}, {"dir_info": {}}, {"vcs_info": {"vcs": "git", "commit_id": "a"}}],
    ids=["editable", "from a folder", "from a repository"],
)
def test_the_source_counts_if_no_index_gave_it_also_where_it_is_found_twice(origin, tmp_path, monkeypatch):
    code_version.cache_clear()
    for folder in ("source", "site"):  # the first has no direct_url.json, as the egg-info beside the source
        install(tmp_path / folder, "my-dist", good("head", "mine"), files={"mine.py": "x = 1"})
        monkeypatch.syspath_prepend(tmp_path / folder)
    mine = frozenset({"mine"})
    assert code_version("my-dist", mine) == "1.0"
    code_version.cache_clear()
    (info,) = (tmp_path / "source").glob("*.dist-info")
    (info / "direct_url.json").write_text(json.dumps({"url": "file:///x", **origin}))
    before = code_version("my-dist", mine)
    (tmp_path / "site" / "mine.py").write_text("x = 2")
    assert code_version("my-dist", mine) == before, "a process has the modules of its beginning"
    code_version.cache_clear()
    after = code_version("my-dist", mine)
    assert before.startswith("1.0+") and after.startswith("1.0+") and before != after
