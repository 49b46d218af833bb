import logging
import os
from pathlib import Path

import librosa
import numpy as np
import pytest
import scipy.fftpack
import soundfile
import torch
import torchaudio

from toolkit.contracts import Seq
from toolkit_plugins.extractors import filters, frontends

RATE = 16_000
BESIDE = Path(__file__).parents[4] / "shared" / "data" / "ravdess"
RAVDESS = Path(os.environ.get("RAVDESS_ROOT", BESIDE))
FRONT_ENDS = {
    "log_spectrogram": frontends.log_spectrogram,
    "log_mel": lambda wave: frontends.log_mel(wave, sample_rate=RATE),
    "log_mel_one": lambda wave: frontends.log_mel(wave, sample_rate=RATE, reference="one"),
    "mfcc": lambda wave: frontends.mfcc(wave, sample_rate=RATE),
    "framed_waveform": frontends.framed_waveform,
    "deltas": lambda wave: frontends.deltas(frontends.mfcc(wave, sample_rate=RATE)),
}
each_front_end = pytest.mark.parametrize("front_end", FRONT_ENDS.values(), ids=FRONT_ENDS)


def voice(samples: int, *, seed: int = 0) -> np.ndarray:
    """Harmonics of a gliding pitch that fade in and out over a little noise: float32 in about [-0.5, 0.5]."""
    random = np.random.default_rng(seed)
    t = np.arange(samples) / RATE
    phase = 2 * np.pi * np.cumsum(120 + 40 * np.sin(2 * np.pi * (1 + seed) * t)) / RATE
    tone = sum(np.sin(k * phase) / k for k in range(1, 30))
    loudness = 0.2 * (0.6 + 0.4 * np.sin(2 * np.pi * 2.3 * t + seed))
    return (tone * loudness + 1e-3 * random.standard_normal(samples)).astype(np.float32)


def seq(*rows: np.ndarray) -> Seq:
    lengths = torch.tensor([len(row) for row in rows])
    values = torch.zeros(len(rows), int(lengths.max()))
    for i, row in enumerate(rows):
        values[i, : len(row)] = torch.from_numpy(row)
    return Seq(values, lengths)


def emphasised(samples: np.ndarray) -> np.ndarray:
    return np.concatenate([samples[:1], samples[1:] - np.float32(0.97) * samples[:-1]])


def librosa_log_spectrogram(samples: np.ndarray) -> np.ndarray:
    stft = librosa.stft(emphasised(samples), n_fft=800, win_length=640, hop_length=160, window="hamming")
    return librosa.amplitude_to_db(np.abs(stft), ref=np.max)[:200, :-1].T


def librosa_mel(samples: np.ndarray) -> np.ndarray:
    return librosa.feature.melspectrogram(y=emphasised(samples), sr=RATE, n_fft=2048, hop_length=160, htk=True)


def librosa_mfcc(samples: np.ndarray) -> np.ndarray:
    y = emphasised(samples)
    return librosa.feature.mfcc(y=y, sr=RATE, n_mfcc=40, n_fft=2048, hop_length=160, n_mels=128, htk=True)[:, :-1].T


def assert_close(found: torch.Tensor, expected: np.ndarray, tolerance: float = 1e-3):
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=tolerance)


def test_three_seconds_are_300_frames_of_ten_milliseconds():
    assert frontends.frame_count(48_000, hop=160) == 300
    assert frontends.frame_count(48_159, hop=160) == 300
    assert frontends.frame_count(400, hop=160) == 2
    assert frontends.frame_count(100, hop=160) == 1


def test_pre_emphasis_keeps_the_first_sample():
    out = frontends.pre_emphasis(torch.tensor([[1.0, 2.0, 4.0], [10.0, 0.0, 0.0]]), 0.5)
    torch.testing.assert_close(out, torch.tensor([[1.0, 1.5, 3.0], [10.0, -5.0, 0.0]]))


def test_pre_emphasis_is_librosas_but_for_the_first_sample():
    samples = voice(1000)
    out = frontends.pre_emphasis(torch.from_numpy(samples)[None], 0.97)[0]
    assert_close(out[1:], librosa.effects.preemphasis(samples, coef=0.97)[1:], 1e-6)
    assert out[0] == samples[0]


@pytest.mark.filterwarnings("ignore:n_fft=.* is too large for input signal:UserWarning")  # librosa, of short signals
@pytest.mark.parametrize("samples", [48_000, 47_999, 16_001, 1_000, 400])
def test_log_spectrogram_of_a_segment_is_librosas(samples):
    out = frontends.log_spectrogram(seq(voice(samples)))
    assert out.values.dtype == torch.float32
    assert out.lengths.tolist() == [samples // 160]
    assert_close(out.values[0], librosa_log_spectrogram(voice(samples))[: samples // 160])


@pytest.mark.filterwarnings("ignore:n_fft=.* is too large for input signal:UserWarning")  # librosa, of short signals
@pytest.mark.parametrize("samples", [48_000, 47_999, 16_001, 1_000, 400])
def test_mfcc_of_a_segment_are_librosas(samples):
    out = frontends.mfcc(seq(voice(samples)), sample_rate=RATE)
    assert out.values.shape == (1, samples // 160, 40)
    assert_close(out.values[0], librosa_mfcc(voice(samples))[: samples // 160])


@pytest.mark.parametrize("make", [np.ones, np.zeros, lambda n: np.random.default_rng(1).standard_normal(n) * 1e-4])
def test_mfcc_of_constant_silent_and_quiet_audio_are_librosas(make):
    samples = make(8_000).astype(np.float32)
    assert_close(frontends.mfcc(seq(samples), sample_rate=RATE).values[0], librosa_mfcc(samples))


@pytest.mark.skipif(not RAVDESS.is_dir(), reason="RAVDESS is not here: set RAVDESS_ROOT")
@pytest.mark.parametrize("name", ["Actor_01/03-01-05-02-01-01-01.wav", "Actor_12/03-01-02-01-02-02-12.wav"])
def test_front_ends_of_recorded_speech_are_librosas(name):
    samples, rate = soundfile.read(next(RAVDESS.rglob(name)), dtype="float32")
    samples = librosa.resample(samples, orig_sr=rate, target_sr=RATE)[:48_000]
    frames = len(samples) // 160
    assert_close(frontends.log_spectrogram(seq(samples)).values[0], librosa_log_spectrogram(samples)[:frames])
    assert_close(frontends.mfcc(seq(samples), sample_rate=RATE).values[0], librosa_mfcc(samples)[:frames])


def test_log_mel_is_librosas_relative_to_its_maximum_or_to_one():
    samples = voice(24_000)
    relative = frontends.log_mel(seq(samples), sample_rate=RATE)
    absolute = frontends.log_mel(seq(samples), sample_rate=RATE, reference="one")
    assert_close(relative.values[0], librosa.power_to_db(librosa_mel(samples), ref=np.max)[:, :-1].T)
    assert_close(absolute.values[0], librosa.power_to_db(librosa_mel(samples))[:, :-1].T)


def test_the_level_of_a_recording_changes_nothing_relative_to_its_maximum():
    loud, quiet = voice(8_000), voice(8_000) / 16
    for name in ("log_spectrogram", "log_mel"):
        out = FRONT_ENDS[name](seq(loud, quiet)).values
        torch.testing.assert_close(out[0], out[1], rtol=0, atol=1e-4)


def test_decibels_lie_between_the_floor_and_zero_in_each_row():
    for name in ("log_spectrogram", "log_mel"):
        out = FRONT_ENDS[name](seq(voice(16_000), voice(16_000, seed=1) * 1e-2)).values
        assert out.amin() == -80
        torch.testing.assert_close(out.amax(dim=(1, 2)), torch.zeros(2), rtol=0, atol=1e-5)


def test_silence_is_quiet_not_loud():
    silent = seq(np.zeros(4_000, dtype=np.float32))
    assert bool((frontends.log_spectrogram(silent).values == -80).all())
    assert bool((frontends.log_mel(silent, sample_rate=RATE).values == -80).all())


@each_front_end
def test_a_row_in_a_batch_equals_the_row_alone(front_end):
    rows = [voice(48_000), voice(30_123, seed=1) * 0.01, voice(400, seed=2), voice(16_000, seed=3) * 20]
    together = front_end(seq(*rows))
    for i, row in enumerate(rows):
        alone = front_end(seq(row))
        assert together.lengths[i] == alone.lengths[0] == len(row) // 160
        torch.testing.assert_close(together.values[i, : alone.lengths[0]], alone.values[0], rtol=1e-5, atol=1e-5)


@each_front_end
@pytest.mark.parametrize("garbage", [1e4, float("nan"), float("inf")])
def test_what_lies_beyond_a_length_changes_nothing(front_end, garbage):
    clean = seq(voice(8_000), voice(5_000, seed=1))
    values = clean.values.clone()
    values[1, 5_000:] = garbage
    found, expected = front_end(Seq(values, clean.lengths)), front_end(clean)
    assert torch.equal(found.values, expected.values)
    assert not found.values[1, 5_000 // 160 :].any()


@each_front_end
def test_many_rows_and_few_rows_at_once_agree(front_end, monkeypatch):
    wave = seq(*[voice(4_000 + 100 * i, seed=i) for i in range(5)])
    by_row = front_end(wave).values
    monkeypatch.setitem(frontends._CHUNK, "cpu", 2**24)
    torch.testing.assert_close(front_end(wave).values, by_row, rtol=1e-6, atol=1e-6)


def test_double_precision_goes_in_and_comes_out():
    wave = Seq(seq(voice(4_000)).values.double(), torch.tensor([4_000]))
    for front_end in FRONT_ENDS.values():
        assert front_end(wave).values.dtype == torch.float64
    assert_close(frontends.log_spectrogram(wave).values[0], librosa_log_spectrogram(voice(4_000)))


def test_a_tensor_made_in_inference_mode_serves_training_later():
    filters.mel_blocks.cache_clear()
    with torch.inference_mode():
        frontends.log_mel(seq(voice(1_000)), sample_rate=RATE)
    wave = seq(voice(1_000)).values.requires_grad_()
    frontends.log_mel(Seq(wave, torch.tensor([1_000])), sample_rate=RATE).values.sum().backward()
    assert torch.isfinite(wave.grad).all()


def test_framed_waveform_holds_the_samples_in_order():
    wave = Seq(torch.arange(1.0, 11.0).repeat(2, 1), torch.tensor([10, 7]))
    out = frontends.framed_waveform(wave, window=4, hop=2, preemphasis=0.0)
    assert out.lengths.tolist() == [5, 3]
    assert out.values[0].tolist() == [[1, 2, 3, 4], [3, 4, 5, 6], [5, 6, 7, 8], [7, 8, 9, 10], [9, 10, 0, 0]]
    assert out.values[1].tolist() == [[1, 2, 3, 4], [3, 4, 5, 6], [5, 6, 7, 0], [0] * 4, [0] * 4]


def test_deltas_of_a_line_are_its_slope():
    line = torch.arange(10.0)[None, :, None] * torch.tensor([1.0, -3.0])
    out = frontends.deltas(Seq(line, torch.tensor([10]))).values
    torch.testing.assert_close(out[0, 2:-2], torch.tensor([1.0, -3.0]).expand(6, 2))
    torch.testing.assert_close(out[0, 0, 0], torch.tensor(0.5))  # (1 * (1 - 0) + 2 * (2 - 0)) / 10


def test_deltas_are_torchaudios_for_each_row_alone():
    frames = torch.randn(2, 12, 3, generator=torch.Generator().manual_seed(0))
    out = frontends.deltas(Seq(frames, torch.tensor([12, 7]))).values
    for row, length in ((0, 12), (1, 7)):
        expected = torchaudio.functional.compute_deltas(frames[row, :length].t()).t()
        torch.testing.assert_close(out[row, :length], expected)


def test_mel_filters_are_librosas():
    found = filters.mel_filters(RATE, 2048, 128)
    expected = librosa.filters.mel(sr=RATE, n_fft=2048, n_mels=128, htk=True, dtype=np.float64).T
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-12)


def test_mel_filters_are_made_once_and_empty_ones_are_reported(caplog):
    filters.mel_blocks.cache_clear()
    with caplog.at_level(logging.WARNING, logger="toolkit"):
        first = filters.mel_blocks(RATE, 256, 128, torch.device("cpu"), torch.float32)
        again = filters.mel_blocks(RATE, 256, 128, torch.device("cpu"), torch.float32)
    assert first is again
    assert len(caplog.records) == 1 and "mel bands stay empty" in caplog.text


def test_cosine_transform_is_scipys_and_orthonormal():
    full = filters.cosine_transform(8, 8, torch.device("cpu"))
    torch.testing.assert_close(full.t() @ full, torch.eye(8, dtype=torch.float64))
    expected = scipy.fftpack.dct(np.eye(8), type=2, norm="ortho", axis=1)[:, :3]
    kept = filters.cosine_transform(8, 3, torch.device("cpu"))
    np.testing.assert_allclose(kept.numpy(), expected, atol=1e-12)
