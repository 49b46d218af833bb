"""Bundles of a stranger: each is one edit of a small good one, and is refused fast, in one line, with little memory."""

import builtins
import io
import json
import os
import socket
import zipfile
from pathlib import Path

import pytest

from toolkit.errors import BundleError
from toolkit.inference.bundle import read_bundle

OLD = Path(__file__).parents[2] / "data" / "bundle-0.1.0.zip"  # mfcc, wav2vec2, nlinear, dlinear


@pytest.fixture
def bundle(tmp_path) -> Path:
    """A copy to edit."""
    with zipfile.ZipFile(OLD) as archive:
        archive.extractall(tmp_path / "bundle")
    return tmp_path / "bundle"


def edit(bundle: Path, path: str, value: object) -> None:
    """Set the value at a dotted path of config.json; ... removes it."""
    values = json.loads((bundle / "config.json").read_text())
    *keys, last = path.split(".")
    tree = values
    for key in keys:
        tree = tree[key]
    if value is ...:
        del tree[last]
    else:
        tree[last] = value
    (bundle / "config.json").write_text(json.dumps(values))


def refusal(bundle: Path) -> str:
    with pytest.raises(BundleError) as caught:
        read_bundle(bundle)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 900
    return text


ALEXNET = {"plugin": "audio-classification-toolkit:spectrogram", "args": {}}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("wav2vec2.args.source", "OUTSIDE"),
        ("wav2vec2.args.source", "stranger/model"),
        ("wav2vec2.args.source", "facebook/wav2vec2-base-960h"),
        ("wav2vec2.args.source", ...),
        ("wav2vec2.args.revision", "main"),
        ("wav2vec2", {"plugin": "audio-classification-toolkit:whisper", "args": {"source": "OUTSIDE"}}),
        ("wav2vec2", ALEXNET | {"args": {"weights": "OUTSIDE/model.safetensors"}}),
        ("wav2vec2", ALEXNET | {"args": {"weights": "OUTSIDE/weights.pth"}}),
        ("wav2vec2", ALEXNET | {"args": {"weights": "imagenet"}}),
        ("wav2vec2", ALEXNET),
    ],
)
def test_nothing_that_a_bundle_names_is_followed(path, value, bundle, tmp_path, monkeypatch):
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("config.json", "preprocessor_config.json", "model.safetensors", "pytorch_model.bin", "weights.pth"):
        (outside / name).write_bytes(b"{}")
    value = json.loads(json.dumps(value).replace("OUTSIDE", str(outside))) if value is not ... else value
    edit(bundle, f"model.levels.{path}", value)
    touched = []

    def watched(call):
        def watch(*args, **kwargs):
            where = str(args[0]) if args else ""
            if call is socket.socket.connect or str(outside) in where or "hub" in Path(where).parts:
                touched.append(args)
            return call(*args, **kwargs)

        return watch

    for owner, name in (
        *((builtins, "open"), (io, "open"), (os, "open"), (os, "stat"), (os, "listdir"), (os, "scandir")),
        *((socket.socket, "connect"), (socket, "getaddrinfo")),
    ):
        monkeypatch.setattr(owner, name, watched(getattr(owner, name)))
    assert "a bundle is used by itself" in refusal(bundle)
    assert touched == []
