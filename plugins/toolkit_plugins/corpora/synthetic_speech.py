"""Source-filter speech: a glottal pulse train and noise through formant resonators, syllable by syllable.

Nobody speaks and nothing is said. What a class does to the voice follows what is known of vocal emotion: anger and joy
raise pitch, range, energy and rate and flatten the spectrum, sadness does the opposite.

Source: Klatt, Software for a cascade/parallel formant synthesizer, 1980; Scherer, Vocal communication of emotion, 2003.
"""

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

SAMPLE_RATE = 16000
# F1, F2, F3 of a man's vowels in Hz (Peterson and Barney, 1952), i e a o u and a neutral one.
VOWELS = np.array(
    [[270, 2290, 3010], [530, 1840, 2480], [730, 1090, 2440], [570, 840, 2410], [300, 870, 2240], [500, 1500, 2500]]
)
BANDWIDTHS_HZ = (70.0, 100.0, 140.0, 220.0)


@dataclass(frozen=True)
class Voice:
    """A person."""

    pitch_hz: float  # the resting pitch
    formants: float  # factor on a man's formants
    slope: float  # factor on the corner of the source's low pass; above 1 is a brighter voice
    rate: float  # factor on the syllable rate
    breath: float  # share of noise in the source
    level_db: float  # how far from the microphone


@dataclass(frozen=True)
class Manner:
    """How something is said, against the person's resting voice; the defaults are neutral."""

    pitch: float = 0.0  # of the mean pitch, in semitones
    range: float = 1.8  # standard deviation of the syllables' pitch, in semitones
    level_db: float = 0.0  # energy
    rate: float = 4.6  # syllables a second
    corner_hz: float = 700.0  # corner of the source's low pass: its spectral tilt
    smile: float = 1.0  # factor on the formants above the first
    breath: float = 1.0  # factor on the share of noise in the source
    unrest: float = 0.01  # jitter and shimmer, relative
    pauses: float = 0.1  # share of syllables before a pause


NEUTRAL = Manner()
MANNERS = {  # in the order of the fields
    "neu": NEUTRAL,
    "ang": Manner(3.5, 2.8, 8.0, 5.2, 2400.0, 1.0, 0.7, 0.03, 0.05),
    "hap": Manner(5.0, 4.8, 4.5, 5.8, 1100.0, 1.08, 1.5, 0.012, 0.07),
    "sad": Manner(-1.5, 1.0, -7.0, 3.3, 330.0, 0.97, 3.0, 0.018, 0.2),
    "fru": Manner(1.5, 2.2, 3.0, 4.4, 1300.0, 1.0, 0.8, 0.02, 0.12),
}


def draw_voice(gender: str, rng: np.random.Generator) -> Voice:
    """Draw a person: "M" or "F" sets pitch and length of the vocal tract."""
    pitch, formants = (112.0, 1.0) if gender == "M" else (198.0, 1.16)
    return Voice(
        pitch_hz=pitch * 2 ** (rng.normal(0, 1.6) / 12),
        formants=formants * float(np.exp(rng.normal(0, 0.035))),
        slope=float(np.exp(rng.normal(0, 0.15))),
        rate=float(np.exp(rng.normal(0, 0.07))),
        breath=float(rng.uniform(0.01, 0.06)),
        level_db=float(rng.normal(0, 1.5)),
    )


def draw_manner(label: str, rng: np.random.Generator) -> Manner:
    """Draw how one utterance of a class is said: more or less of the class, and everyone's scatter.

    Labels that have no manner of their own ("xxx") are said halfway between neutral and any.
    """
    aim = MANNERS.get(label) or MANNERS[rng.choice(sorted(MANNERS))]
    depth = rng.uniform(0.55, 1.3) if label in MANNERS else 0.5

    def between(name: str) -> float:
        rest = getattr(NEUTRAL, name)
        return rest + depth * (getattr(aim, name) - rest)

    def between_ratio(name: str, scatter: float) -> float:
        rest = getattr(NEUTRAL, name)
        return float(rest * (getattr(aim, name) / rest) ** depth * np.exp(rng.normal(0, scatter)))

    return Manner(
        pitch=between("pitch") + rng.normal(0, 0.9),
        range=between_ratio("range", 0.15),
        level_db=between("level_db") + rng.normal(0, 2.0),
        rate=between_ratio("rate", 0.08),
        corner_hz=between_ratio("corner_hz", 0.18),
        smile=between_ratio("smile", 0.015),
        breath=between_ratio("breath", 0.25),
        unrest=between_ratio("unrest", 0.20),
        pauses=max(0.0, between("pauses")),
    )


def speak(voice: Voice, manner: Manner, *, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Synthesise an utterance: [samples], float32 at 16 kHz, never above full scale."""
    total = round(seconds * SAMPLE_RATE)
    speech = np.zeros(total)
    bounds, sounds = _syllables(total, voice.rate * manner.rate, manner.pauses, rng)
    pitch = _pitch(total, bounds, voice, manner, rng)
    source = _source(pitch, manner.unrest, voice.breath * manner.breath, rng)
    corner = np.clip(manner.corner_hz * voice.slope, 100.0, 6000.0)
    source = _low_pass(source, corner)
    vowel = VOWELS[rng.integers(len(VOWELS))]
    for (start, stop), sound in zip(bounds, sounds, strict=True):
        if not sound:
            continue
        # A syllable's vowel lies between the last one and a new one.
        vowel = 0.35 * vowel + 0.65 * VOWELS[rng.integers(len(VOWELS))]
        shape = voice.formants * np.array([1.0, manner.smile, manner.smile]) * np.exp(rng.normal(0, 0.03, 3))
        formants = [*(vowel * shape), 3500.0 * voice.formants]
        envelope = np.sin(np.pi * (np.arange(stop - start) + 0.5) / (stop - start)) ** 0.7
        ring = min(total, stop + 400)  # the resonators ring on for 25 ms
        piece = np.zeros(ring - start)
        piece[: stop - start] = source[start:stop] * envelope * 10 ** (rng.normal(0, 1.5) / 20)
        speech[start:ring] += _resonate(piece, formants)
        speech[start:stop] += _consonant(stop - start, manner, rng)
    speech *= 0.02 * 10 ** ((voice.level_db + manner.level_db) / 20)
    speech += _room_noise(total, rng)
    peak = np.abs(speech).max()
    return (speech if peak <= 0.98 else speech * (0.98 / peak)).astype(np.float32)


def _syllables(
    total: int, rate: float, pauses: float, rng: np.random.Generator
) -> tuple[list[tuple[int, int]], list[bool]]:
    """Bounds of syllables and pauses in samples, and which of them sound; a little silence at both ends."""
    edge = min(int(rng.uniform(0.03, 0.12) * SAMPLE_RATE), total // 8)
    at, bounds, sounds = edge, [], []
    while at < total - edge:
        length = int(SAMPLE_RATE / rate * np.exp(rng.normal(0, 0.22)))
        stop = min(at + max(length, 800), total)
        bounds.append((at, stop))
        sounds.append(True)
        at = stop
        if rng.random() < pauses:
            stop = min(at + int(rng.uniform(0.12, 0.35) * SAMPLE_RATE), total)
            bounds.append((at, stop))
            sounds.append(False)
            at = stop
    return bounds, sounds


def _pitch(
    total: int, bounds: list[tuple[int, int]], voice: Voice, manner: Manner, rng: np.random.Generator
) -> np.ndarray:
    """The pitch contour in Hz: an accent on each syllable, falling towards the end."""
    centres = [(start + stop) / 2 for start, stop in bounds]
    accents = rng.normal(0, manner.range, len(bounds))
    contour = np.interp(np.arange(total), centres, accents)
    fall = np.linspace(1.0, -1.0, total) * 0.6 * manner.range
    return voice.pitch_hz * 2 ** ((manner.pitch + contour + fall) / 12)


def _source(pitch: np.ndarray, unrest: float, breath: float, rng: np.random.Generator) -> np.ndarray:
    """A pulse for each period, its moment jittered and its size shimmering, and noise."""
    phase = np.cumsum(pitch) / SAMPLE_RATE
    at = np.flatnonzero(np.diff(np.floor(phase)) > 0) + 1
    shift = np.rint(rng.normal(0, unrest, len(at)) * SAMPLE_RATE / pitch[at]).astype(int)
    at = np.clip(at + shift, 0, len(pitch) - 1)
    source = breath * rng.normal(0, 1, len(pitch))
    np.add.at(source, at, np.sqrt(SAMPLE_RATE / pitch[at]) * (1 + rng.normal(0, 4 * unrest, len(at))))
    return source


def _low_pass(signal: np.ndarray, corner_hz: float) -> np.ndarray:
    """One pole at 0 Hz and one at the corner: -6 dB an octave, twice that above the corner; power kept alike."""
    pole = np.exp(-2 * np.pi * corner_hz / SAMPLE_RATE)
    out = lfilter([1 - pole], [1, -pole], signal)
    return out / max(float(np.sqrt(np.mean(out**2))), 1e-9)


def _resonate(signal: np.ndarray, formants: list[float]) -> np.ndarray:
    """Four resonators in a row, each with gain 1 at 0 Hz (Klatt's cascade)."""
    for centre, width in zip(formants, BANDWIDTHS_HZ, strict=True):
        radius = np.exp(-np.pi * width / SAMPLE_RATE)
        b = 2 * radius * np.cos(2 * np.pi * min(centre, 7600.0) / SAMPLE_RATE)
        c = -radius * radius
        signal = lfilter([1 - b - c], [1, -b, -c], signal)
    return signal


def _consonant(samples: int, manner: Manner, rng: np.random.Generator) -> np.ndarray:
    """A burst of noise at a syllable's onset: with or without a voice, sharper when the voice is tense."""
    burst = np.zeros(samples)
    length = min(samples, int(rng.uniform(0.02, 0.07) * SAMPLE_RATE))
    noise = np.diff(rng.normal(0, 1, length + 1))
    size = rng.uniform(0.05, 0.35) * (manner.corner_hz / NEUTRAL.corner_hz) ** 0.3
    burst[:length] = size * noise * np.hanning(length)
    return burst


def _room_noise(total: int, rng: np.random.Generator) -> np.ndarray:
    """Pinkish noise some 50 dB below full scale."""
    noise = lfilter([1.0], [1.0, -0.9], rng.normal(0, 1, total))
    return noise * 10 ** (rng.uniform(-66, -56) / 20)
