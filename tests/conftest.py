"""Fixtures of several files: recipes written into a folder."""

import pytest
from recipe_files import BASE

from toolkit.recipe import load_recipe


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
