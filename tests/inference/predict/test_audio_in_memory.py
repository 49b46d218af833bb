"""Files in memory and open files: labelled and refused like files on a disk, and no copy of them is left."""

import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from trained_model import random_model

from toolkit.errors import AudioError, PredictionError, ShapeError, ToolkitError
from toolkit.inference.predict.model import Model
from toolkit.inference.predict.recordings import Recording


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Model:
    return random_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def copies(tmp_path_factory, monkeypatch) -> Path:
    """The folder for copies; after the test it is empty."""
    folder = tmp_path_factory.mktemp("copies")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture(scope="module", params=["wav", "flac", "ogg", "mp3"])
def file(request, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("file") / f"a.{request.param}"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.3, 0.3, (22_050, 2)), 22_050)
    return path


def test_bytes_and_file_objects_are_labelled_as_the_file_is(model, file):
    expected, data = model.predict(file), file.read_bytes()
    for content in (data, bytearray(data), memoryview(data), io.BytesIO(data)):
        assert model.predict(content) == expected
    with file.open("rb") as opened:
        assert model.predict(opened) == expected and opened.read() == b""
        with pytest.raises(AudioError, match=f"{file} has no bytes to read: it is empty, or has been read to its end"):
            model.predict(opened)
        opened.seek(0)
        assert np.array_equal(model.embed(opened)["fused"], model.embed(file)["fused"])
    found = list(model.predict_many([data, file, Recording(data)], batch_size=1))
    assert found == list(model.predict_many([file] * 3, batch_size=1))


def test_a_file_object_is_read_from_its_position(model, file):
    opened = io.BytesIO(b"head" + file.read_bytes())
    opened.seek(4)
    assert model.predict(opened) == model.predict(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file in memory has no bytes to read: it is empty"),
        (b"no audio " * 20, "the file in memory is not audio that can be read"),
        (
            io.StringIO("text"),
            r"the file in memory cannot be read \(TypeError: .*\): an open binary file object is needed",
        ),
    ],
)
def test_an_error_calls_a_file_without_a_name_the_file_in_memory(model, content, message):
    with pytest.raises(AudioError, match=message):
        model.predict(content)


def test_an_error_calls_a_file_object_by_its_name_and_the_others_are_labelled(model, tmp_path):
    path = tmp_path / "cut.wav"
    soundfile.write(path, np.zeros(16_000), 16_000)
    whole = path.read_bytes()
    path.write_bytes(whole[:2000])
    with path.open("rb") as cut, path.open("rb") as closed:
        closed.close()
        results = [result for _, result in model.results([cut, whole, closed])]
    assert str(results[0]).startswith(f"{path} is truncated: ") and results[0].kind == "truncated"
    assert results[1].label in model.labels
    assert str(results[2]).startswith(f"{path} cannot be read (ValueError: ")


def test_no_room_for_a_copy_is_one_line(model, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/dev/full/copies")
    with pytest.raises(AudioError, match=r"the file in memory cannot be read .*room for a copy"):
        model.predict(b"RIFF")
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("audio", "rate", "error", "message"),
    [
        (None, None, PredictionError, "None is not audio: a path, the bytes of a file, a binary file object"),
        (3, 16_000, PredictionError, "3 is not audio"),
        (["a.wav", "b.wav"], None, PredictionError, "is not audio: .*; predict_many takes several recordings"),
        ({"a": 1}, None, PredictionError, r"\{'a': 1\} is not audio"),
        (np.zeros(9), None, PredictionError, "sample_rate=16000"),
        (np.zeros(9), 0.5, PredictionError, "sample_rate is 0.5; a whole number of Hz up to 10,000,000 is needed"),
        (np.zeros((99, 2)), 16_000, ShapeError, "99 channels: transpose it"),
    ],
)
def test_an_argument_that_is_not_audio_is_one_line(model, audio, rate, error, message):
    with pytest.raises(error, match=message) as raised:
        model.predict(audio, sample_rate=rate)
    assert isinstance(raised.value, ToolkitError) and "\n" not in str(raised.value)
