"""Fixtures for the tests of data and of the feature cache."""

import pytest
from small_system import write_recipe


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache folder of the test's own."""
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def recipe(tmp_path):
    """The small recipe with its corpus."""
    return write_recipe(tmp_path)
