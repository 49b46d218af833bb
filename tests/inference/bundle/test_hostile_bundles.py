"""Hostile bundles: each is one edit of a small good one, and is refused fast, in one line, with little memory."""

import builtins
import io
import json
import os
import re
import socket
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from safetensors.torch import load_file, save
from small_bundle import edit_config, replace_file

from toolkit.errors import BundleError
from toolkit.inference.bundle import read_bundle, restoring

OLD = Path(__file__).parents[2] / "data" / "bundle-0.1.0.zip"  # mfcc, wav2vec2, nlinear, dlinear


@pytest.fixture
def bundle(tmp_path) -> Path:
    """A copy to edit."""
    with zipfile.ZipFile(OLD) as archive:
        archive.extractall(tmp_path / "bundle")
    return tmp_path / "bundle"


def edit(bundle: Path, path: str, value: object) -> None:
    """Set the value at a dotted path of config.json; ... removes it."""

    def change(tree: dict) -> None:
        *keys, last = path.split(".")
        for key in keys:
            tree = tree[key]
        tree.pop(last, None) if value is ... else tree.update({last: value})

    edit_config(bundle, change)


@contextmanager
def little() -> Iterator[None]:
    """Little memory and little time."""

    def resident(what: str) -> int:
        return int(re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])

    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, start = resident("VmRSS"), time.process_time()
    yield
    assert resident("VmHWM") - before < 200_000, "kB"
    assert time.process_time() - start < 8, "s"


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
            hub = re.search(r"(huggingface|torch)/hub(/|$)", where)
            if call is socket.socket.connect or str(outside) in where or hub:
                touched.append(args)
            return call(*args, **kwargs)

        return watch

    for owner, name in (
        *((builtins, "open"), (io, "open"), (os, "open"), (os, "stat"), (os, "listdir"), (os, "scandir")),
        *((socket.socket, "connect"), (socket, "getaddrinfo")),
    ):
        monkeypatch.setattr(owner, name, watched(getattr(owner, name)))
    assert "a bundle is self-contained" in refusal(bundle)
    assert touched == []


MFCC = "model.levels.mfcc.args"
W2V2 = "model.levels.wav2vec2.args.config"
MANY = {f"m{i}": {"plugin": "audio-classification-toolkit:mfcc", "args": {}} for i in range(2000)}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (f"{MFCC}.n_fft", 10**9, "args.n_fft: extractor 'mfcc': n_fft is 1000000000; it has to be at most 65536"),
        (f"{MFCC}.hop", 10**9, "hop is 1000000000; it has to be at most"),
        (f"{MFCC}.hop", 1, "hop is 1; it has to be at least 8 with n_fft 512"),
        (f"{MFCC}.n_mels", 10**6, "n_mels is 1000000; it has to be at most 1024"),
        (f"{MFCC}.layers", 10**6, "layers is 1000000; it has to be at most 64"),
        (f"{MFCC}.layers", 10**18, "layers is"),
        (f"{MFCC}.layers", 10**20, "is too large"),
        (f"{MFCC}.hidden", 10**6, "hidden is 1000000; it has to be at most"),
        (f"{MFCC}.hidden", 8000, "extractor 'mfcc': it asks for more than 256 MiB of memory"),
        (f"{MFCC}.hidden", 2000, "size mismatch"),
        (f"{MFCC}.convolutions", [1] * 100_000, "it consists of too many tensors"),
        (f"{MFCC}.convolutions", [10**6, 10**6], "it asks for more than 256 MiB of memory"),
        (f"{W2V2}.hidden_size", 10**6, "it asks for more than 256 MiB of memory"),
        (f"{W2V2}.num_hidden_layers", 10**6, "it consists of too many tensors"),
        (f"{W2V2}.num_conv_pos_embeddings", 10**9, "it asks for more than 256 MiB of memory"),
        (f"{W2V2}.intermediate_size", 10**9, "it asks for more than 256 MiB of memory"),
        (f"{W2V2}.conv_dim", [10**5] * 7, "it asks for more than 256 MiB of memory"),
        (W2V2, {f"conv_{name}": [1] * 10**5 for name in ("dim", "kernel", "stride")}, "1 to 32 whole numbers"),
        (f"{W2V2}.conv_stride", [0] * 7, "conv_stride is [0, 0, 0, 0, 0, 0, 0]; 1 to 32 whole numbers of at least 1"),
        ("model.levels.nlinear.args.steps", 10**6, "size mismatch"),
        ("model.levels.dlinear.args.kernel", 10**9 + 1, "kernel is 1000000001; it has to be at most"),
        ("model.fusion.args.dim", 10**6, "it asks for more than 256 MiB of memory"),
        ("model.levels", MANY, "model.levels: has 2000 entries; at most 100 are allowed"),
        ("audio.sample_rate", 2**26, "audio.sample_rate: must be at most 768,000"),
        ("audio.sample_rate", 15_485_863, "audio.sample_rate: must be at most 768,000"),
        ("audio.segment_seconds", 10**5, "and at most 262.1 at 16000 Hz"),
        ("audio.segment_seconds", 1e308, "audio.segment_seconds: must be at least a sample and at most"),
        ("audio.segment_seconds", 250, "model.safetensors"),
    ],
)
def test_huge_sizes_are_refused(path, value, message, bundle):
    edit(bundle, path, value)
    with little():
        assert message in refusal(bundle)


@pytest.mark.parametrize(("bound", "message"), [("LARGEST_TENSOR", "more than 0 MiB"), ("TRIAL_SECONDS", "than 0 s")])
def test_memory_and_time_of_the_trial_are_bounded_too(bound, message, bundle, monkeypatch):
    """The weights do not show strides and numbers of heads, for example."""
    monkeypatch.setattr(restoring, bound, 0)
    assert "The system cannot be run: it " in refusal(bundle) and message in refusal(bundle)


def test_a_tensor_cut_to_its_first_row_is_refused(bundle):
    state = load_file(bundle / "model.safetensors")
    name = max(state, key=lambda name: state[name].numel())
    replace_file(bundle, "model.safetensors", save({**state, name: state[name][:1]}))
    with little():
        assert f"size mismatch for {name}" in refusal(bundle)


@pytest.mark.parametrize("name", ["config.json", "README.md", "model.safetensors"])
def test_every_member_is_hashed(name, bundle, tmp_path):
    """A changed byte that leaves each file valid; config.json is as version 2 writes it."""
    edit(bundle, "format_version", 2)
    read_bundle(bundle)
    data = (bundle / name).read_bytes()
    if name == "config.json":
        values = json.loads(data)
        values["classes"]["label"].reverse()
        changed = json.dumps(values).encode()
    else:
        changed = data[:-1] + bytes([data[-1] ^ 1])
    (bundle / name).write_bytes(changed)
    assert f"{name} is not the file that was exported" in refusal(bundle)
