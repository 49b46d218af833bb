import math

import pytest
import torch
from torch.nn import functional

from toolkit.contracts import Seq
from toolkit_plugins.extractors.descriptors import descriptors, interpolated
from toolkit_plugins.extractors.functionals import QUANTILES, Functionals, course, modulation, statistics

SETTINGS = {"sample_rate": 16_000, "n_mels": 40, "n_mfcc": 13}
ENERGY, CENTROID, SPREAD, MEDIAN, FLUX, PITCH, VOICING = 53, 54, 55, 57, 60, 61, 62


def tone(hertz: float, samples: int = 8_000) -> torch.Tensor:
    return 0.3 * torch.sin(2 * math.pi * hertz * torch.arange(samples) / 16_000)


def described(wave: torch.Tensor) -> torch.Tensor:
    """[samples] -> [frames, descriptors]."""
    return descriptors(Seq(wave[None], torch.tensor([len(wave)])), **SETTINGS).values[0]


def test_statistics_are_those_of_torch_over_real_frames():
    values = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(0))
    found = statistics(Seq(values, torch.tensor([9, 4])))
    for row, length in enumerate((9, 4)):
        real = values[row, :length]
        quantiles = torch.quantile(real, torch.tensor(QUANTILES), dim=0).flatten()
        expected = torch.cat([real.mean(0), real.std(0, correction=0), quantiles])
        torch.testing.assert_close(found[row], expected)


def test_the_course_is_that_of_adaptive_pooling_over_real_frames():
    values = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(0))
    found = course(Seq(values, torch.tensor([9, 1])))
    for row, length in enumerate((9, 1)):
        real = values[row : row + 1, :length].mT  # [1, channels, time]
        halves, quarters = (functional.adaptive_avg_pool1d(real, parts).mT.flatten() for parts in (2, 4))
        torch.testing.assert_close(found[row], torch.cat([halves, quarters]))


@pytest.mark.parametrize("hertz", [1.5, 5.0, 20.0])
def test_a_modulation_is_found_in_its_octave_whatever_lies_beyond_the_length(hertz):
    times = torch.arange(400) * 0.01
    values = 7 + 2 * torch.sin(2 * math.pi * hertz * times)
    padded = torch.cat([values, torch.full((50,), 1e3)])[None, :, None]
    found = modulation(Seq(padded, torch.tensor([400])))[0]
    octave = int(math.log2(hertz))
    assert found.argmax() == octave
    points = 4 * 2**octave  # of the grid, in that octave
    assert 10 ** found[octave] == pytest.approx(400 * 2**2 / 4 / points, rel=0.15)  # neighbours add a little
    torch.testing.assert_close(found, modulation(Seq(values[None, :, None], torch.tensor([400])))[0])


@pytest.mark.parametrize("hertz", [110, 220, 400])
def test_the_pitch_of_a_tone_is_its_frequency(hertz):
    frames = described(tone(hertz))[5:-5]
    assert 2 ** frames[:, PITCH].median() == pytest.approx(hertz, rel=0.02)
    assert frames[:, VOICING].min() > 0.9


def test_a_high_tone_has_its_centroid_and_median_there_and_a_constant_spectrum():
    frames = described(tone(3_000))[5:-5]
    assert frames[:, CENTROID].mean() == pytest.approx(3.0, abs=0.1)
    assert frames[:, MEDIAN].mean() == pytest.approx(3.0, abs=0.1)
    assert frames[:, FLUX].max() < 0.02 and frames[:, SPREAD].mean() < 0.5


def test_noise_is_less_voiced_and_wider_than_a_tone():
    noise = 0.1 * torch.randn(8_000, generator=torch.Generator().manual_seed(0))
    assert described(noise)[:, VOICING].mean() < 0.5 < described(tone(200))[:, VOICING].mean()
    assert described(noise)[:, SPREAD].mean() > 2


def test_pitch_is_interpolated_where_nothing_is_voiced():
    known = torch.tensor([[0, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0]]).bool()
    found = interpolated(torch.tensor([[9.0, 1.0, 9.0, 9.0, 4.0, 9.0], [9.0] * 6]), known)
    assert found[0].tolist() == [1, 1, 2, 3, 4, 4]
    assert found[1].tolist() == pytest.approx([math.log2(math.sqrt(60 * 500))] * 6)


def test_silence_is_finite_and_loudness_does_not_matter():
    extractor = Functionals(**SETTINGS)
    assert extractor(Seq(torch.zeros(1, 4_000), torch.tensor([4_000]))).values.isfinite().all()
    wave = tone(150) + 0.05 * torch.randn(8_000, generator=torch.Generator().manual_seed(1))
    loud, soft = (extractor(Seq(w[None], torch.tensor([8_000]))).values for w in (wave, 0.1 * wave))
    torch.testing.assert_close(soft, loud, rtol=1e-3, atol=1e-3)


def test_silence_is_as_soft_as_can_be_also_in_a_batch():
    waves = torch.stack([torch.zeros(4_000), tone(150, 4_000)])
    silent, sound = descriptors(Seq(waves, torch.tensor([4_000, 4_000])), **SETTINGS).values
    assert silent[:, :40].unique().tolist() == [-60.0] and silent[:, ENERGY].unique().tolist() == [-60.0]
    assert float(sound[:, :40].max()) == 0.0 and float(sound[:, ENERGY].max()) == 0.0


def test_a_rate_below_the_highest_pitch_is_refused():
    for rate in (16, 499):
        with pytest.raises(ValueError, match=f"sample_rate is {rate}; it has to be at least 500"):
            Functionals(sample_rate=rate)
    wave = torch.randn(1, 500, generator=torch.Generator().manual_seed(0))
    assert Functionals(sample_rate=500)(Seq(wave, torch.tensor([500]))).values.isfinite().all()


def test_more_coefficients_than_bands_are_refused():
    with pytest.raises(ValueError, match="n_mfcc is 30; 20 mel bands"):
        Functionals(n_mels=20, n_mfcc=30)
