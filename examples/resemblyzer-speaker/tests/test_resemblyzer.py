import subprocess
import sys
from functools import partial
from types import ModuleType

import librosa
import numpy as np
import pytest
import torch
from resemblyzer_plugin import front_end, network
from resemblyzer_plugin.extractor import Resemblyzer

from toolkit.contracts import Seq
from toolkit.errors import PluginError
from toolkit.testing import assert_contract

SECONDS = (1.0, 1.6, 2.75, 4.2)


def speech(seconds, *, level=0.1, seed=0):
    """Tones in noise, [1, samples]."""
    time = np.arange(round(16_000 * seconds)) / 16_000
    noise = np.random.default_rng(seed).standard_normal(len(time))
    wave = level * (np.sin(2 * np.pi * (120 + 40 * time) * time) + 0.3 * noise)
    return Seq(torch.from_numpy(wave.astype(np.float32))[None], torch.tensor([len(wave)]))


@pytest.fixture(scope="module")
def encoder():
    """resemblyzer's own encoder; an empty module replaces webrtcvad, which it does not use here."""
    with pytest.MonkeyPatch.context() as patch, pytest.warns(DeprecationWarning):
        patch.setitem(sys.modules, "webrtcvad", ModuleType("webrtcvad"))
        import resemblyzer
    return resemblyzer.VoiceEncoder("cpu", verbose=False), resemblyzer.normalize_volume


@pytest.mark.parametrize(
    "args",
    [{}, {"output": "states", "layer": 2, "step": 4}, {"output": "states", "step": 1, "raise_level": False}],
    ids=lambda args: args.get("output", "embeddings"),
)
def test_the_extractor_keeps_the_contract(args):
    assert_contract("extractor", partial(Resemblyzer, **args), segment_samples=40_000)


@pytest.mark.parametrize("seconds", SECONDS)
@pytest.mark.parametrize("level", [0.001, 0.1])
@pytest.mark.parametrize(("step", "rate"), [(77, 1.3), (20, 5.0)])  # rate: windows a second
def test_embeddings_are_those_of_resemblyzer(seconds, level, step, rate, encoder):
    wave = speech(seconds, level=level)
    theirs, normalize_volume = encoder
    louder = normalize_volume(wave.values[0].numpy(), -30, increase_only=True)
    _, expected, _ = theirs.embed_utterance(louder, return_partials=True, rate=rate)
    found = Resemblyzer(step=step).features(wave).values[0]
    assert found.shape == expected.shape
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=0, atol=1e-5)


def test_mel_frames_are_those_of_librosa():
    wave = speech(0.7)
    expected = librosa.feature.melspectrogram(y=wave.values[0].numpy(), sr=16_000, n_fft=400, hop_length=160, n_mels=40)
    found = front_end.mel_power(wave)
    assert found.lengths.tolist() == [71]
    torch.testing.assert_close(found.values[0], torch.from_numpy(expected.T), rtol=1e-4, atol=1e-6)


def test_a_quiet_row_is_raised_to_minus_30_db_and_a_loud_one_left():
    values = torch.stack([torch.full((4,), 0.001), torch.full((4,), 0.5), torch.zeros(4)])
    found = front_end.raised(Seq(values, torch.tensor([2, 4, 4]))).values
    assert found[0].tolist() == pytest.approx([10**-1.5, 10**-1.5, 0, 0])
    assert torch.equal(found[1:], values[1:])


def test_windows_are_those_of_the_rows_own_frames():
    rows = [speech(seconds, seed=seed) for seed, seconds in enumerate((3.0, 0.5))]
    values = torch.nn.utils.rnn.pad_sequence([row.values[0] for row in rows], batch_first=True)
    found, counts = front_end.windows(Seq(values, torch.tensor([48_000, 8_000])), step=80)
    assert counts == [3, 1] and found.shape == (4, 160, 40)
    long, short = (front_end.mel_power(row).values[0] for row in rows)
    torch.testing.assert_close(found[1], long[80:240])
    torch.testing.assert_close(found[3, :51], short)
    assert not found[3, 53:].any()


def test_an_embedding_is_not_negative_and_of_length_1():
    found = Resemblyzer()(speech(3.0)).values
    assert found.shape == (1, 5, 256) and (found >= 0).all()
    torch.testing.assert_close(found.norm(dim=2), torch.ones(1, 5))


def test_every_fourth_state_is_kept():
    wave = speech(0.3)
    every = Resemblyzer(output="states", layer=2, step=1)(wave)
    fourth = Resemblyzer(output="states", layer=2, step=4)(wave)
    assert every.lengths.tolist() == [31] and fourth.lengths.tolist() == [8]
    assert torch.equal(fourth.values, every.values[:, ::4])


def test_nothing_is_trained_and_the_weights_are_in_the_key_of_the_cache():
    one, other = Resemblyzer(), Resemblyzer()
    assert not [name for name, parameter in one.named_parameters() if parameter.requires_grad]
    assert one.front_end_args == other.front_end_args
    with torch.no_grad():
        other.network.linear.bias[0] += 1e-6
    assert one.front_end_args != other.front_end_args
    assert one.pretrained == "resemblyzer 0.1.4"


def test_the_package_of_resemblyzer_is_not_imported():
    code = "import sys; from resemblyzer_plugin.extractor import Resemblyzer; Resemblyzer(); print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"resemblyzer", "webrtcvad", "librosa"} & set(found)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"sample_rate": 8_000}, "audio.sample_rate is 8000; .* trained at 16000 Hz"),
        ({"output": "embedding"}, "output is 'embedding'; known: embeddings, states"),
        ({"output": "states", "layer": 4}, "layer is 4; the encoder has layers 1 to 3"),
        ({"layer": 2}, "layer is 2, which goes with output: states"),
        ({"step": 161}, "step is 161; it has to be 1 to 160 frames"),
    ],
)
def test_what_cannot_be_is_refused(args, message):
    with pytest.raises(ValueError, match=message):
        Resemblyzer(**args)


def test_without_the_weights_one_line_says_how_to_get_them(monkeypatch, tmp_path):
    metadata = tmp_path / "resemblyzer-0.1.4.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: resemblyzer\nVersion: 0.1.4\n")
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(PluginError, match=r"is not installed: `pip install --no-deps resemblyzer==0.1.4`"):
        network.weights_file()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(PluginError, match=r"pretrained.pt, the weights of resemblyzer, is not there"):
        network.weights_file()
    (tmp_path / "resemblyzer").mkdir()
    (tmp_path / "resemblyzer" / "pretrained.pt").write_bytes(b"damaged")
    with pytest.raises(PluginError, match="does not hold the expected weights"):
        network.SpeakerNetwork()
