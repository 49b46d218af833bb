"""Damaged and forged bundles, and other files: each is refused with one line."""

import json
import logging
import os
import random
import re
import shutil
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save
from small_bundle import edit_config, replace_file, train, zip_of
from wav2vec2_checkpoints import save_checkpoint

from toolkit.errors import BundleError
from toolkit.inference.bundle import read_bundle
from toolkit.inference.bundle.export import export_bundle

FILES = ("config.json", "README.md", "model.safetensors", "seen.json")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return train(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory) -> Path:
    return export_bundle(run, tmp_path_factory.mktemp("bundle") / "small")


@pytest.fixture
def bundle(whole, tmp_path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(whole, tmp_path / "given"))


def refusal(path: Path) -> str:
    with pytest.raises(BundleError) as caught:
        read_bundle(path)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 800 and str(path) in text
    return text


def content(bundle: Path) -> dict[str, bytes]:
    return {name: (bundle / name).read_bytes() for name in FILES}


class TestNotABundle:
    def test_a_near_name_is_suggested(self, bundle):
        assert "Did you mean 'given'?" in refusal(bundle.with_name("givn"))

    def test_a_run_is_refused_with_the_command_that_exports_it(self, run):
        for path in (run, run / "results.json"):
            assert f"`toolkit export {run} BUNDLE` makes a bundle of it" in refusal(path)

    def test_a_file_of_a_bundle_is_not_the_bundle(self, bundle):
        assert f"Give its folder, {bundle}" in refusal(bundle / "config.json")
        assert f"Give its folder, {bundle}" in refusal(bundle / "model.safetensors")

    def test_the_content_of_another_folder_is_listed(self, tmp_path):
        (tmp_path / "a.wav").touch()
        assert "it has no config.json; it holds a.wav" in refusal(tmp_path)

    def test_a_transformers_checkpoint(self, tmp_path):
        assert "has no format_version: this is not a bundle" in refusal(save_checkpoint("wav2vec2-group", tmp_path))

    @pytest.mark.parametrize("data", [b"", b"PK", b"PK\x03\x04" + bytes(40), b"PK\x05\x06" + bytes(18), b"text"])
    def test_a_file_of_something_else(self, data, tmp_path):
        (tmp_path / "b.zip").write_bytes(data)
        assert "is not a bundle" in refusal(tmp_path / "b.zip")

    def test_a_name_that_no_file_can_have(self, tmp_path):
        with pytest.raises(BundleError, match="No bundle at"):
            read_bundle(tmp_path / ("x" * 300))

    @pytest.mark.parametrize("name", FILES)
    def test_a_missing_file_is_named(self, name, bundle, tmp_path):
        files = content(bundle)
        del files[name]
        (bundle / name).unlink()
        assert f"it has no {name}" in refusal(bundle)
        assert f"it has no {name}" in refusal(zip_of(files, tmp_path / "b.zip"))


class TestFolders:
    def test_other_files_beside_it_are_left_alone(self, bundle):
        (bundle / "notes.txt").write_text("mine")
        read_bundle(bundle)

    @pytest.mark.parametrize("name", FILES)
    def test_a_link_leads_to_a_file_and_a_pipe_is_none(self, name, bundle, whole):
        path = bundle / name
        path.unlink()
        path.symlink_to(whole / name)
        read_bundle(bundle)
        path.unlink()
        os.mkfifo(path)
        assert f"{name} is damaged (OSError: " in refusal(bundle)


class TestZips:
    def test_another_zips_content(self, tmp_path):
        assert "it has no config.json; it holds a.txt" in refusal(zip_of({"a.txt": b"a"}, tmp_path / "b.zip"))

    @pytest.mark.parametrize("name", ["../config.json", "/etc/passwd", "a/../../README.md", "x\n\x1b[2J"])
    def test_names_that_lead_out_of_the_archive_are_ignored(self, name, bundle, tmp_path):
        path = zip_of(content(bundle) | {name: b"x"}, tmp_path / "b.zip")
        before = sorted(tmp_path.rglob("*"))
        read_bundle(path)
        assert sorted(tmp_path.rglob("*")) == before

    def test_a_bomb(self, bundle, tmp_path):
        files = content(bundle) | {"model.safetensors": bytes(50_000_000)}
        path = zip_of(files, tmp_path / "b.zip", zipfile.ZIP_DEFLATED)
        assert path.stat().st_size < 100_000
        assert "is compressed, and a bundle's files are not" in refusal(path)

    def test_a_zip_truncated_anywhere(self, whole, run, tmp_path):
        data = export_bundle(run, tmp_path / "whole.zip").read_bytes()
        path = tmp_path / "b.zip"
        for stop in range(0, len(data), 211):
            path.write_bytes(data[:stop])
            refusal(path)

    def test_a_flipped_byte_is_found_or_harmless(self, whole, run, tmp_path):
        data = export_bundle(run, tmp_path / "whole.zip").read_bytes()
        expected, path, found = read_bundle(whole), tmp_path / "b.zip", 0
        draw = random.Random(0)
        for _ in range(150):
            changed = bytearray(data)
            changed[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
            path.write_bytes(changed)
            try:
                read = read_bundle(path)
            except BundleError as error:
                found += 1
                assert "\n" not in str(error)
            else:
                assert read.config == expected.config
                for name, value in expected.system.state_dict().items():
                    assert torch.equal(read.system.state_dict()[name], value)
        assert found > 130


class TestWeights:
    def replace(self, bundle, **changes):
        """Replace tensors; None leaves one out."""
        state = load_file(bundle / "model.safetensors") | changes
        replace_file(bundle, "model.safetensors", save({k: v for k, v in state.items() if v is not None}))

    @pytest.fixture
    def name(self, bundle):
        return next(name for name, v in load_file(bundle / "model.safetensors").items() if v.shape == (8,))

    def test_one_is_missing(self, bundle, name):
        self.replace(bundle, **{name: None})
        assert re.search(f"does not fit the system .* Missing key.*{name}", refusal(bundle))

    def test_one_too_many(self, bundle):
        self.replace(bundle, **{"heads.x": torch.zeros(1), "heads.y": torch.zeros(1)})
        assert re.search("does not fit the system .* Unexpected key.*heads.x", refusal(bundle))

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (torch.zeros(9), "size mismatch"),
            (torch.zeros(1, 8), "size mismatch"),
            (torch.zeros(8, dtype=torch.int64), "prediction for the trial sound"),
            (torch.full((8,), float("nan")), "prediction for the trial sound"),
            (torch.full((8,), 1e6), "prediction for the trial sound"),
        ],
    )
    def test_one_tensor_differs(self, bundle, name, value, message):
        self.replace(bundle, **{name: value})
        assert message in refusal(bundle)

    def test_a_file_truncated_anywhere(self, bundle):
        data = (bundle / "model.safetensors").read_bytes()
        for stop in (0, 1, 7, 8, 9, 100, len(data) // 2, len(data) - 1):
            replace_file(bundle, "model.safetensors", data[:stop])
            assert "model.safetensors is damaged" in refusal(bundle)

    @pytest.mark.parametrize(
        "header",
        [
            b"[]",
            b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}',
            b'{"a": {"dtype": "PICKLE", "shape": [1], "data_offsets": [0, 4]}}',
            b'{"a": {"dtype": "F32", "shape": [99999999999999], "data_offsets": [0, 4]}}',
        ],
    )
    def test_a_header_with_wrong_values(self, bundle, header):
        replace_file(bundle, "model.safetensors", struct.pack("<Q", len(header)) + header + bytes(4))
        assert "model.safetensors is damaged" in refusal(bundle)

    def test_a_pickle_is_not_opened(self, bundle, tmp_path):
        class Exploit:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "hacked"),)

        torch.save({"x": Exploit()}, tmp_path / "evil.pt")
        replace_file(bundle, "model.safetensors", (tmp_path / "evil.pt").read_bytes())
        refusal(bundle)
        assert not (tmp_path / "hacked").exists()


class TestPlugins:
    def level(self, bundle, **changes):
        edit_config(bundle, lambda values: values["model"]["levels"]["mfcc"].update(changes))

    def test_a_distribution_that_is_not_installed_is_named(self, bundle):
        edit_config(bundle, lambda values: values["distributions"].update({"my-levels": "1.0"}))
        self.level(bundle, plugin="my-levels:loudness")
        expected = (
            "It needs extractor 'loudness' of my-levels 1.0, which is not installed here: install it if you trust it."
        )
        assert expected in refusal(bundle)

    def test_a_plugin_that_its_distribution_does_not_have(self, bundle):
        self.level(bundle, plugin="audio-classification-toolkit:mfc")
        expected = "It needs extractor 'mfc' of audio-classification-toolkit 0.1.0, which is not installed here"
        assert expected in refusal(bundle)

    @pytest.mark.parametrize("plugin", ["os:system", ":mfcc", "audio-classification-toolkit:", "a:b:mfcc"])
    def test_a_name_without_a_known_distribution(self, bundle, plugin):
        self.level(bundle, plugin=plugin)
        assert "It needs extractor" in refusal(bundle)

    def test_arguments_are_checked_as_a_recipes_are(self, bundle):
        for args, message in (
            ({"hiden": 4}, "has no argument 'hiden'. Did you mean 'hidden'?"),
            ({"hidden": "4"}, "'4' is text; a whole number is needed"),
            ({"hidden": -1}, "hidden is -1"),
            ({"sample_rate": 8000}, "'sample_rate' is given to extractor 'mfcc' by the system"),
        ):
            self.level(bundle, args=args)
            assert message in refusal(bundle)

    def test_another_version_with_the_same_answer_is_a_warning(self, bundle, caplog, monkeypatch):
        monkeypatch.setattr(logging.getLogger("toolkit"), "propagate", True)
        edit_config(bundle, lambda values: values["distributions"].update({"audio-classification-toolkit": "9.0"}))
        read_bundle(bundle)
        (message,) = set(caplog.messages)
        assert "small: exported with audio-classification-toolkit 9.0, but 0.1.0 is installed here" in message

    def test_another_answer_is_refused_whatever_the_version(self, bundle):
        edit_config(bundle, lambda values: values.update(trial=[0.99, 0.01]))
        edit_config(bundle, lambda values: values["exported_with"].update({"torch": "1.0"}))
        text = refusal(bundle)
        assert f"{bundle}: the prediction for the trial sound differs from that at export" in text
        assert "It was exported with torch 1.0." in text

    def test_weights_have_the_name_in_the_bundle(self, bundle):
        edit_config(bundle, lambda values: values["training"].update(pretrained={"mfcc": "ada/mfcc"}))
        read = read_bundle(bundle)
        assert read.system.pretrained == {"mfcc": "ada/mfcc"} and read.system.random_backbones == []


def test_config_json_in_other_bytes_is_one_line(bundle):
    text = (bundle / "config.json").read_bytes()
    for data in (b"\xff" + text, text[:-3], b"[]", b"3"):
        (bundle / "config.json").write_bytes(data)
        assert "config.json" in refusal(bundle)


def test_a_bundle_is_what_its_files_are(whole):
    """Its keys, and these files alone; a change of the format fails here."""
    assert sorted(path.name for path in whole.iterdir()) == sorted(FILES)
    values = json.loads((whole / "config.json").read_text())
    assert sorted(values["files"]) == ["README.md", "model.safetensors", "seen.json"]


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.update(predict_from="emotoin"),
        lambda values: values["classes"].pop("label"),
        lambda values: values.update(trial=[0.5, 0.3, 0.2]),
        lambda values: values["files"].pop("model.safetensors"),
        lambda values: values["classes"]["label"].append("third"),
    ],
)
def test_values_that_contradict_each_other_are_one_line(bundle, change):
    edit_config(bundle, change)
    refusal(bundle)
