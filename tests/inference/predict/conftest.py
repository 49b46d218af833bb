from pathlib import Path

import pytest
import stand_in_bundle


@pytest.fixture
def stand_in(monkeypatch):
    """Reading a bundle builds the small system that its file describes."""
    monkeypatch.setattr("toolkit.inference.bundle.read_bundle", stand_in_bundle.read_bundle)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return stand_in_bundle.write_bundle(tmp_path_factory.mktemp("bundles") / "plain")
