"""Fixtures of several files: recipes in a folder, a feature cache that is nobody's, no waiting for the disk."""

import os

import pytest
from recipe_files import BASE

from toolkit.recipe.loading import load_recipe


@pytest.fixture(scope="session", autouse=True)
def feature_cache(tmp_path_factory):
    """Runs in tests keep their features in a folder of the session; their subprocesses inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOOLKIT_CACHE", str(tmp_path_factory.mktemp("feature-cache")))
        patch.delenv("TOOLKIT_CACHE_GB", raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk():
    """A file outlives a killed process without `fsync`; only a power failure tells, and no test makes one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def write(tmp_path):
    def to(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    to("base.yaml", BASE)
    return to


@pytest.fixture
def child(write):
    """Load a recipe that extends the base."""

    def load(text="", *overrides, **options):
        return load_recipe(write("child.yaml", f"extends: base.yaml\n{text}"), overrides, **options)

    return load
