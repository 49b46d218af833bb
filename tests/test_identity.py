"""A run's identity changes with what can change its result, and with nothing else."""

from pathlib import Path

import pytest

from toolkit.corpus import Utterance
from toolkit.identity import manifest_rows, run_hash

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
def test_where_it_runs_changes_nothing(change):
    assert run_hash(RECIPE | change, [], {}) == run_hash(RECIPE, [], {})


@pytest.mark.parametrize(
    ("recipe", "rows", "versions"),
    [
        (RECIPE | {"training": {"epochs": 4}}, [], {}),
        (RECIPE, [{"id": "u", "label": "ang"}], {}),
        (RECIPE, [], {"plugins": "1.0"}),
    ],
)
def test_settings_manifest_and_code_change_it(recipe, rows, versions):
    assert run_hash(recipe, rows, versions) != run_hash(RECIPE, [], {})


def test_a_corpus_that_was_moved_is_the_same_corpus():
    def rows(root: str) -> list:
        names = ("S1/a.wav", "S2/b.wav")
        return manifest_rows([Utterance(id=n, path=Path(root) / n, label="ang") for n in names])

    assert rows("/data/corpus") == rows("/mnt/elsewhere")
