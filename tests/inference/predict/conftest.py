from pathlib import Path

import pytest
import stand_in_bundle
from predict_command import write


@pytest.fixture
def stand_in(monkeypatch):
    """Reading a bundle builds the small system that its file describes."""
    monkeypatch.setattr("toolkit.inference.bundle.read_bundle", stand_in_bundle.read_bundle)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return stand_in_bundle.write_bundle(tmp_path_factory.mktemp("bundles") / "plain")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Four recordings, one of them in a folder below, and files to pass over."""
    root = tmp_path_factory.mktemp("audio")
    write(root / "b.wav", 0.7)
    write(root / "a.flac", 0.2, 44_100, 2, seed=1)
    write(root / "inner" / "c.mp3", 0.3, seed=2)
    write(root / "z.OGG", 0.3, seed=3)
    write(root / ".hidden.wav")
    write(root / ".folder" / "d.wav")
    (root / "notes.txt").write_text("no audio")
    return root
