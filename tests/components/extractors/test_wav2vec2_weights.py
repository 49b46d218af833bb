import json
import logging
import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC, Wav2Vec2Model
from wav2vec2_checkpoints import SMALL, random_model, save_checkpoint

from toolkit.errors import PluginError, RecipeError
from toolkit_plugins.extractors.wav2vec2 import Wav2Vec2


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_checkpoint("wav2vec2-group", tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def folder(checkpoint, tmp_path):
    """A copy that a test may damage."""
    return Path(shutil.copytree(checkpoint, tmp_path / "checkpoint"))


class TestSources:
    def test_random_says_that_it_is_random(self):
        extractor = random_model(architecture="wavlm")
        assert extractor.random_backbone and extractor.pretrained is None and extractor.channels == 16

    def test_a_folder_says_which_weights(self, folder):
        extractor = Wav2Vec2(source=str(folder))
        assert extractor.pretrained == str(folder) and not extractor.random_backbone

    def test_a_fine_tuned_checkpoint_loads_without_its_head_and_without_a_word(self, tmp_path, caplog):
        torch.manual_seed(0)
        model = Wav2Vec2ForCTC(Wav2Vec2Config(**SMALL))
        model.save_pretrained(tmp_path)
        with caplog.at_level(logging.INFO):
            extractor = Wav2Vec2(source=str(tmp_path), normalize=True)
        assert not caplog.records
        weight = model.wav2vec2.encoder.layers[1].attention.q_proj.weight
        assert torch.equal(extractor.model.encoder.layers[1].attention.q_proj.weight, weight)

    def test_pickled_weights_load(self, folder):
        model = Wav2Vec2Model.from_pretrained(folder)
        (folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        found = Wav2Vec2(source=str(folder)).model.feature_projection.projection.weight
        assert torch.equal(found, model.feature_projection.projection.weight)

    def test_a_pickle_that_runs_code_is_refused(self, folder, monkeypatch):
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
        (folder / "model.safetensors").unlink()
        torch.save({"x": Exploit(folder / "hacked")}, folder / "pytorch_model.bin")
        with pytest.raises(PluginError, match="cannot be read"):
            Wav2Vec2(source=str(folder))
        assert not (folder / "hacked").exists()

    def test_missing_weights_are_named_in_a_warning(self, folder, caplog):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))
        with caplog.at_level(logging.WARNING):
            Wav2Vec2(source=str(folder), normalize=True)
        (record,) = caplog.records
        assert record.name == "toolkit"
        assert "lacks encoder.layers.3.attention.k_proj.bias, " in record.message
        assert "and 13 more: random weights take their place" in record.message

    def test_half_precision_weights_become_float32(self, folder):
        Wav2Vec2Model.from_pretrained(folder).half().save_pretrained(folder)
        assert {p.dtype for p in Wav2Vec2(source=str(folder)).parameters()} == {torch.float32}

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda f: (f / "config.json").unlink(), "has no config.json"),
            (
                lambda f: (f / "model.safetensors").unlink(),
                "has no weights (model.safetensors or pytorch_model.bin",
            ),
            (lambda f: truncate(f / "model.safetensors"), "cannot be read, the file may be truncated"),
            (lambda f: (f / "model.safetensors").write_bytes(b""), "cannot be read, the file may be truncated"),
            (lambda f: (f / "config.json").write_text('{"model_type": "wav'), "config.json of"),
            (lambda f: (f / "config.json").write_text("[]"), "config.json of"),
            (
                lambda f: edit(f / "config.json", model_type="bert"),
                "'bert'; wav2vec2 takes wav2vec2, hubert, wavlm, data2vec",
            ),
            (lambda f: edit(f / "config.json", hidden_size=32), "do not fit its configuration"),
            (lambda f: edit(f / "config.json", model_type="hubert", conv_pos_batch_norm=True), "conv_pos_batch_norm"),
        ],
    )
    def test_a_damaged_folder_is_one_line(self, folder, damage, message):
        damage(folder)
        with pytest.raises((PluginError, RecipeError)) as caught:
            Wav2Vec2(source=str(folder))
        text = str(caught.value)
        assert message in text and str(folder) in text and "\n" not in text

    def test_the_checkpoint_says_whether_to_normalise(self, folder):
        (folder / "preprocessor_config.json").write_text('{"do_normalize": false, "sampling_rate": 16000}')
        assert Wav2Vec2(source=str(folder)).normalize is False
        assert Wav2Vec2(source=str(folder), normalize=True).normalize is True

    def test_what_a_folder_does_not_say_is_a_warning_unless_the_recipe_says_it(self, folder, caplog):
        assert Wav2Vec2(source=str(folder)).normalize is True
        (record,) = caplog.records
        assert record.message.startswith(f"{folder} has no preprocessor_config.json: waveforms of 16000 Hz are taken")
        caplog.clear()
        assert Wav2Vec2(source=str(folder), normalize=False).normalize is False and not caplog.records

    def test_a_processor_of_transformers_5_says_it_in_one_file(self, folder):
        (folder / "preprocessor_config.json").unlink(missing_ok=True)
        processor = folder / "processor_config.json"
        processor.write_text('{"feature_extractor": {"do_normalize": false, "sampling_rate": 16000}}')
        assert Wav2Vec2(source=str(folder)).normalize is False
        processor.write_text('{"feature_extractor": {"do_normalize": true, "sampling_rate": 8000}}')
        with pytest.raises(ValueError, match=r"needs audio at 8000 Hz; audio\.sample_rate is 16000"):
            Wav2Vec2(source=str(folder))

    def test_another_sample_rate_than_the_checkpoints_is_refused(self, folder):
        with pytest.raises(ValueError, match=r"needs audio at 16000 Hz; audio\.sample_rate is 8000"):
            Wav2Vec2(source=str(folder), sample_rate=8000)

    def test_weights_of_something_else_are_refused(self, folder):
        from safetensors.torch import save_file

        save_file({"x": torch.zeros(1)}, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(PluginError, match="holds no wav2vec2 weights"):
            Wav2Vec2(source=str(folder))


class Exploit:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def edit(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


class TestHub:
    def test_offline_is_one_line_that_says_how_to_name_a_folder(self, tmp_path, monkeypatch):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        with pytest.raises(PluginError, match="HF_HUB_OFFLINE is set; on a machine with network") as caught:
            Wav2Vec2()
        assert "give --args.source FOLDER" in str(caught.value) and "\n" not in str(caught.value)

    def test_an_unreachable_hub_fails_at_once(self, hub):
        hub.shutdown_now()
        before = time.monotonic()
        with pytest.raises(PluginError, match=r"cannot be fetched .*; .* give --args\.source FOLDER"):
            Wav2Vec2(source="some/model")
        assert time.monotonic() - before < 5

    def test_an_unknown_name_is_one_line(self, hub):
        with pytest.raises(PluginError, match="the hub refuses 'some/other'") as caught:
            Wav2Vec2(source="some/other")
        assert "\n" not in str(caught.value)

    def test_a_model_is_downloaded_once_and_then_read_from_the_cache(self, hub):
        extractor = Wav2Vec2(source="some/model")
        assert extractor.pretrained == "some/model" and hub.paths
        hub.paths.clear()
        again = Wav2Vec2(source="some/model")
        assert not hub.paths
        assert torch.equal(again.model.encoder.layer_norm.weight, extractor.model.encoder.layer_norm.weight)

    def test_a_snapshot_of_another_program_is_completed(self, hub, tmp_path, caplog):
        Wav2Vec2(source="some/model")
        shutil.rmtree(tmp_path / "cache" / "models--some--model" / ".no_exist")  # the other program did not ask
        (hub.folder / "preprocessor_config.json").write_text('{"do_normalize": false}')
        caplog.clear()
        hub.paths.clear()
        assert Wav2Vec2(source="some/model").normalize is False and not caplog.records
        assert not [path for path in hub.paths if "safetensors" in path]
        hub.paths.clear()
        assert Wav2Vec2(source="some/model").normalize is False and not hub.paths

    def test_what_a_snapshot_does_not_say_is_a_warning(self, hub, tmp_path, caplog):
        for _ in range(2):
            caplog.clear()
            assert Wav2Vec2(source="some/model").normalize is True
            (record,) = caplog.records
            assert record.message.startswith("some/model has no preprocessor_config.json: ")
        shutil.rmtree(tmp_path / "cache" / "models--some--model" / ".no_exist")
        hub.shutdown_now()
        caplog.clear()
        before = time.monotonic()
        assert Wav2Vec2(source="some/model").normalize is True and len(caplog.records) == 1
        assert time.monotonic() - before < 5

    def test_a_download_without_all_files_of_its_index_is_completed(self, hub, tmp_path):
        model = Wav2Vec2Model.from_pretrained(hub.folder)
        (hub.folder / "model.safetensors").unlink()
        model.save_pretrained(hub.folder, max_shard_size="10KB")
        parts = sorted(hub.folder.glob("model-*-of-*.safetensors"))
        assert len(parts) > 1
        (hub.folder / "model.fp32-00001-of-00002.safetensors").write_bytes(b"the same weights, twice as large")
        Wav2Vec2(source="some/model")
        assert not [path for path in hub.paths if "fp32" in path]
        (snapshot,) = (tmp_path / "cache" / "models--some--model" / "snapshots").iterdir()
        (snapshot / parts[0].name).unlink()
        found = Wav2Vec2(source="some/model").model
        assert torch.equal(found.encoder.layer_norm.weight, model.encoder.layer_norm.weight)
        (hub.folder / parts[0].name).unlink()
        with pytest.raises(PluginError, match="has no weights"):
            Wav2Vec2(source=str(hub.folder))

    def test_pickles_are_downloaded_where_there_are_no_safetensors(self, hub):
        model = Wav2Vec2Model.from_pretrained(hub.folder)
        (hub.folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), hub.folder / "pytorch_model.bin")
        assert Wav2Vec2(source="some/model").pretrained == "some/model"


@pytest.fixture
def hub(folder, tmp_path, monkeypatch):
    """The few answers of the hub that a download needs, for some/model, from a folder."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    (folder / "README.md").write_text("not needed")

    class Answers(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def answer(self, body):
            server.paths.append(self.path)
            path = self.path.split("?")[0]
            headers = {"X-Repo-Commit": commit}
            if path.startswith("/api/models/some/model/tree/"):
                files = [{"type": "file", "path": p.name, "size": p.stat().st_size, "oid": p.name} for p in files_of()]
                content, headers["Content-Type"] = json.dumps(files).encode(), "application/json"
            elif path.startswith("/api/models/some/model"):
                siblings = [{"rfilename": p.name} for p in files_of()]
                content = json.dumps({"id": "some/model", "sha": commit, "siblings": siblings}).encode()
                headers["Content-Type"] = "application/json"
            elif path.startswith("/some/model/resolve/") and (folder / path.rsplit("/", 1)[1]).is_file():
                content = (folder / path.rsplit("/", 1)[1]).read_bytes()
                headers["ETag"] = f'"{path.rsplit("/", 1)[1]}"'
            else:
                content = b""
                self.send_response(404)
                known = path.startswith("/some/model/")
                headers["X-Error-Code"] = "EntryNotFound" if known else "RepoNotFound"
                headers["X-Error-Message"] = "Entry not found" if known else "Repository not found"
            if content:
                self.send_response(200)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *args):
            pass

    def files_of():
        return sorted(p for p in folder.iterdir() if p.is_file())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = True
    server.paths, server.folder = [], folder
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()

    def shutdown_now():
        server.shutdown()
        thread.join()
        server.server_close()

    server.shutdown_now = shutdown_now
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    constants = "huggingface_hub.constants."
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(constants + "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants + "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants + "ENDPOINT", endpoint)
    monkeypatch.setattr(
        constants + "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants + "HF_HUB_DISABLE_XET", True)
    yield server
    if thread.is_alive():
        shutdown_now()


class TestWrongSources:
    @pytest.mark.parametrize(
        ("args", "message"),
        [
            ({"config": {"hiden_size": 8}}, "wav2vec2 has no setting 'hiden_size'. Did you mean 'hidden_size'?"),
            (
                {"config": {"conv_stride": [5, 0, 2, 2, 2, 2, 2]}},
                "conv_stride is [5, 0, 2, 2, 2, 2, 2]; 1 to 32 whole numbers of at least 1 are needed",
            ),
            ({"config": {"mask_time_length": 0}}, "config: mask_time_length is 0; 1 is the least"),
            (
                {"architecture": "data2vec"},
                "model type 'data2vec'; wav2vec2 takes wav2vec2, hubert, wavlm, data2vec",
            ),
        ],
    )
    def test_a_wrong_configuration_is_one_line(self, args, message):
        with pytest.raises(RecipeError) as caught:
            random_model(**args)
        assert message in str(caught.value)

    @pytest.mark.parametrize("source", ["./nothing/here", "wav2vec2", "/no/such/folder", "a/b/c"])
    def test_a_source_that_is_nothing_says_what_it_may_be(self, source):
        with pytest.raises(
            RecipeError, match="neither a folder here nor a hub name like 'facebook/wav2vec2-base-960h'"
        ):
            Wav2Vec2(source=source)

    def test_a_folder_has_no_revision(self, tmp_path):
        with pytest.raises(RecipeError, match="is a folder here, which has no revision 'v1': leave it out"):
            Wav2Vec2(source=str(tmp_path), revision="v1")
