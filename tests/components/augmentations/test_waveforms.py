"""Augmentations of waveforms do what they say, in numbers that can be checked by hand."""

import math
import pickle

import pytest
import soundfile
import torch

from toolkit_plugins.augmentations import recordings
from toolkit_plugins.augmentations.codec import Codec, compressed
from toolkit_plugins.augmentations.crop import Crop
from toolkit_plugins.augmentations.gain import Gain, amplified
from toolkit_plugins.augmentations.noise import Noise, coloured_noise, noisy
from toolkit_plugins.augmentations.reverb import Reverb, reverberated, simulated_response
from toolkit_plugins.augmentations.shift import shifted
from toolkit_plugins.augmentations.speed import Speed, faster, higher
from toolkit_plugins.augmentations.telephone import Telephone, telephoned
from toolkit_plugins.augmentations.vtlp import Vtlp, source_frequencies, warped

RATE = 16_000


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def tone(hertz, samples=RATE):
    return torch.sin(2 * torch.pi * hertz * torch.arange(samples) / RATE)


def loudest(wave):
    """The frequency with the most power, in Hz."""
    spectrum = torch.fft.rfft(wave).abs()
    return float(spectrum.argmax()) * RATE / len(wave)


def level(wave, hertz):
    """The amplitude of a tone of one second."""
    return float(torch.fft.rfft(wave)[hertz].abs()) / (len(wave) / 2)


def test_twenty_decibels_are_ten_times_the_amplitude():
    assert amplified(torch.tensor([0.1, -0.2]), 20.0).tolist() == pytest.approx([1.0, -2.0])


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 20.0])
def test_noise_has_the_power_that_was_asked_for(snr_db):
    wave = 0.1 * tone(440)
    added = noisy(wave, coloured_noise(RATE, 1.0, generator()), snr_db) - wave
    assert 10 * math.log10(wave.square().sum() / added.square().sum()) == pytest.approx(snr_db, abs=1e-3)


def test_silence_gets_no_noise_and_silent_noise_adds_nothing():
    assert not noisy(torch.zeros(9), torch.randn(9), 10.0).any()
    assert noisy(torch.ones(9), torch.zeros(9), 10.0).tolist() == [1.0] * 9
    assert noisy(torch.ones(9), torch.full((9,), 1e-25), 10.0).tolist() == [1.0] * 9, "its squares are 0 in float32"


@pytest.mark.parametrize(("exponent", "db_per_octave"), [(0.0, 0.0), (1.0, -3.01), (2.0, -6.02)])
def test_power_falls_with_each_octave_by_three_decibels_for_pink_and_six_for_brown(exponent, db_per_octave):
    power = torch.fft.rfft(coloured_noise(2**18, exponent, generator())).abs().square()
    low, high = (power[start : 2 * start].mean() for start in (2**13, 2**14))
    assert 10 * math.log10(high / low) == pytest.approx(db_per_octave, abs=0.3)


def test_a_recording_that_is_too_short_is_repeated_and_one_that_is_longer_is_read_from_anywhere(tmp_path):
    (tmp_path / "deep").mkdir()
    soundfile.write(tmp_path / "deep" / "short.wav", [0.25, 0.5, -0.5], RATE)
    (tmp_path / "deep" / "notes.txt").write_text("no sound")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / ".hidden").mkdir()
    soundfile.write(tmp_path / ".hidden" / "other.wav", [0.75], RATE)
    noise = Noise(folder=str(tmp_path))
    assert noise.recordings.excerpt(7, generator()).tolist() == [0.25, 0.5, -0.5, 0.25, 0.5, -0.5, 0.25]
    starts = {float(noise.recordings.excerpt(1, generator(seed))) for seed in range(20)}
    assert starts == {0.25, 0.5, -0.5}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda file: file.symlink_to("nowhere"), "does not exist"),
        (lambda file: file.touch(), "is an empty file"),
        (lambda file: file.write_text("no sound"), "b.wav"),
        (lambda file: file.write_bytes((file.parent / "a.wav").read_bytes()[:-20]), "truncated"),
    ],
)
def test_a_file_in_the_folder_that_cannot_be_used_is_named_before_anything_is_read(tmp_path, make, says):
    soundfile.write(tmp_path / "a.wav", [0.5] * 99, RATE)
    make(tmp_path / "b.wav")
    for plugin in (Noise, Reverb):
        with pytest.raises(ValueError, match=r"folder is '.*'; remove or replace this file: .*b\.wav") as caught:
            plugin(folder=str(tmp_path))
        assert says in str(caught.value) and "\n" not in str(caught.value)


def test_lengths_are_read_once_and_reach_workers(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", [0.25, 0.5, -0.5], RATE)
    noise = Noise(folder=str(tmp_path))
    monkeypatch.setattr(recordings, "stretch", None)
    for copy in (noise, pickle.loads(pickle.dumps(noise))):
        assert copy.recordings.excerpt(3, generator()).tolist() == [0.25, 0.5, -0.5]
        assert copy.recordings.beginning(2, generator()).tolist() == [0.25, 0.5]


def test_an_echo_is_added_behind_the_direct_sound_and_power_stays():
    wave = torch.tensor([1.0, 0.0, 0.0, 0.0])
    found = reverberated(wave, torch.tensor([0.1, 0.8, 0.0, 0.6]))  # what comes before the direct sound is cut
    assert found.tolist() == pytest.approx([0.8, 0.0, 0.6, 0.0], abs=1e-6)


def test_a_simulated_room_decays_by_sixty_decibels_in_its_time():
    response = simulated_response(0.5, 0.0, sample_rate=RATE, generator=generator())
    early, late = (response[i : i + 800].square().mean() for i in (800, 4800))  # a quarter of a second between them
    assert 10 * math.log10(early / late) == pytest.approx(30.0, abs=1.0)


@pytest.mark.parametrize("direct_db", [12.0, -20.0])
def test_a_simulated_rooms_direct_sound_has_its_power_over_the_rest(direct_db):
    """Also where the rest has larger values than the direct sound, which stays where it is."""
    response = simulated_response(0.2, direct_db, sample_rate=RATE, generator=generator())
    assert 10 * math.log10(response[0] ** 2 / response[1:].square().sum()) == pytest.approx(direct_db, abs=1e-3)
    click = torch.zeros(RATE)
    click[100] = 1.0
    heard = reverberated(click, response, direct=0)
    assert heard[:100].abs().max() < 1e-6 < heard[100] and len(heard) == RATE


@pytest.mark.parametrize("change", [lambda wave: higher(wave, 2.0), lambda wave: reverberated(wave, 1e-4 * wave[:9])])
def test_power_stays_however_soft_the_wave(change):
    soft = 1e-7 * tone(440)
    assert float(change(soft).square().sum() / soft.square().sum()) == pytest.approx(1.0, rel=1e-3)


def test_a_silent_response_changes_nothing():
    assert reverberated(torch.ones(9), torch.zeros(5)).tolist() == [1.0] * 9


def test_a_folder_of_impulse_responses_is_used(tmp_path):
    soundfile.write(tmp_path / "room.wav", [1.0 - 2**-15, 0.0, 0.5], RATE)
    found = Reverb(folder=str(tmp_path)).change(torch.tensor([1.0, 0.0, 0.0]), generator())
    assert found.tolist() == pytest.approx([0.894, 0.0, 0.447], abs=1e-3)


def test_double_speed_is_half_as_long_and_an_octave_higher():
    fast = faster(tone(200), 2.0)
    assert len(fast) == RATE // 2 and loudest(fast) == pytest.approx(400, abs=2)


def test_an_octave_higher_is_as_long_as_before():
    high = higher(tone(200), 12.0)
    assert len(high) == RATE and loudest(high) == pytest.approx(400, abs=2)
    assert float(high.square().mean()) == pytest.approx(0.5, rel=1e-3)


def test_a_telephone_lets_through_what_lies_in_its_band():
    heard = telephoned(0.3 * (tone(1000) + tone(60) + tone(6000)), sample_rate=RATE)
    assert len(heard) == RATE
    assert level(heard, 1000) == pytest.approx(0.3, rel=0.05)
    assert level(heard, 60) < 0.003 and level(heard, 6000) < 0.003


def test_a_vocal_tract_a_tenth_shorter_moves_formants_up_and_leaves_the_pitch():
    pulses = torch.zeros(RATE)
    pulses[::160] = 1.0  # 100 Hz
    time = torch.arange(400) / RATE
    vowel = torch.nn.functional.conv1d(
        pulses[None, None],
        (torch.exp(-400 * time) * torch.sin(2 * torch.pi * 1000 * time)).flip(0)[None, None],
        padding=399,
    )[0, 0, :RATE]
    moved = warped(vowel, 1.1, sample_rate=RATE)
    assert loudest(vowel) == pytest.approx(1000, abs=10) and loudest(moved) == pytest.approx(1100, abs=10)
    harmonics = torch.fft.rfft(moved).abs().square()
    assert float(harmonics[::100].sum() / harmonics.sum()) > 0.99
    assert torch.allclose(warped(vowel, 1.0, sample_rate=RATE), vowel, atol=1e-4)


def test_a_rate_at_which_the_pitch_would_move_is_refused():
    Vtlp(sample_rate=85_000)
    with pytest.raises(ValueError, match=r"vtlp takes audio at up to 85000 Hz; audio\.sample_rate is 96000"):
        Vtlp(sample_rate=96_000)


def test_frequencies_are_multiplied_below_the_boundary_and_half_the_rate_stays():
    assert source_frequencies(torch.tensor([550.0, 8000.0]), 1.1, 8000.0).tolist() == pytest.approx([500.0, 8000.0])
    assert source_frequencies(torch.tensor([450.0, 8000.0]), 0.9, 8000.0).tolist() == pytest.approx([500.0, 8000.0])


def test_a_crop_is_an_excerpt_and_a_shift_rolls():
    wave = torch.arange(10.0)
    found = Crop(part=(0.5, 0.5)).change(wave, generator()).tolist()
    assert len(found) == 5 and found == list(range(int(found[0]), int(found[0]) + 5))
    assert shifted(wave, 0.2).tolist() == [8, 9, 0, 1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Speed(factor=(0.0, 1.0)), "factor is \\[0, 1\\]; neither may be below 0.25"),
        (lambda: Telephone(high=5000.0), "high is 5000; they have to rise, between 0 and 4000 Hz"),
        (lambda: Gain(db=(0.0, 1e5)), "db is \\[0, 100000\\]; neither may be above 100"),
        (lambda: Noise(snr_db=(-1e308, 0.0)), "neither may be below -100"),
        (lambda: Reverb(direct_db=(-800.0, 0.0)), "neither may be below -100"),
        (lambda: Crop(part=(0.5, 1.5)), "part is \\[0.5, 1.5\\]; neither may be above 1"),
        (lambda: Noise(folder="."), "folder is '.'; it holds no recording"),
        (lambda: Noise(folder="~nobody-here/noise"), "folder is '~nobody-here/noise', which does not exist"),
    ],
)
def test_values_out_of_range_are_refused_by_name(make, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("kbit_per_s", [16, 32, 64])
@pytest.mark.parametrize("sample_rate", [8_000, 16_000, 44_100])
def test_an_mp3_keeps_length_and_time_of_a_tone(sample_rate, kbit_per_s):
    time = torch.arange(sample_rate) / sample_rate
    wave = 0.3 * torch.sin(2 * math.pi * (200 + 300 * time) * time)
    found = compressed(wave, kbit_per_s, sample_rate=sample_rate)
    assert len(found) == len(wave)
    assert (found - wave).square().mean() < 0.03 * wave.square().mean()  # a thousand samples late it would be 2


def test_an_mp3_has_the_bit_rate_that_it_was_asked_for(monkeypatch):
    sizes, write = [], soundfile.write

    def counted(file, *rest, **options):
        write(file, *rest, **options)
        sizes.append(file.tell())

    monkeypatch.setattr(soundfile, "write", counted)
    compressed(torch.rand(160_000) - 0.5, 32, sample_rate=16_000)
    assert sizes[0] * 8 / 10 == pytest.approx(32_000, rel=0.02)
    with pytest.raises(ValueError, match="MP3 does not support 15000 Hz; it supports 8000, 11025"):
        Codec(sample_rate=15_000)
