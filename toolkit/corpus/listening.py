"""Listen to utterances, and find changed copies: their spectra are most similar, and their waveforms match at some lag.

Changed copies differ in level, sample rate, encoding (MP3) or silence around them.
"""

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from toolkit.corpus.utterance import Utterance
from toolkit.errors import AudioError

SILENT_PEAK = 10 ** (-60 / 20)  # full scale is 1
LONGEST_S = 30.0  # how much of an utterance is compared, from its beginning
LOW_HZ, HIGH_HZ, BANDS = 80, 3400, 64  # frequencies that telephones and MP3 keep
WINDOW_S, HOP_S = 0.064, 0.016
RANGE_DB, DEPTH_DB = 20.0, 30.0  # below the loudest frame: the quietest frame that counts, and the floor of its bands
# Measured on spoken digits and on RAVDESS: changed copies are among the 2 most similar, at most 1.0 dB away, and most
# correlate by 0.88 or more; two takes of a sentence by one speaker by at most 0.80 (73,500 pairs of digits) and 0.43.
NEAREST, FARTHEST_DB, COPY = 3, 1.0, 0.85


@dataclass(frozen=True)
class Sound:
    """The audio of an utterance; only the error if it cannot be read."""

    error: AudioError | None = None
    frames: int = 0
    rate: int = 0  # in Hz
    channels: int = 0
    digest: bytes | None = None  # of its samples; None if it is silent
    spectrum: np.ndarray | None = None  # mean and deviation of each band's level over loud frames, in dB: [2 * BANDS]

    def samples(self, sample_rate: int) -> int:
        """Number of samples at a sample rate in Hz."""
        return -(-self.frames * sample_rate // self.rate) if self.rate else 0


Sounds = list[tuple[Utterance, Sound]]  # in the order of the utterances


def listen(utterances: Sequence[Utterance]) -> Sounds:
    """Read all audio in a few threads (libsndfile releases the interpreter's lock)."""
    from toolkit.terminal import progress

    with ThreadPoolExecutor(min(8, 2 * (os.cpu_count() or 1))) as pool:
        sounds = pool.map(_heard, utterances)
        try:
            sounds = list(progress(sounds, "audio files", total=len(utterances), shown=sys.stderr.isatty()))
            return list(zip(utterances, sounds, strict=True))
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the files that are left


def near_copies(sounds: Sounds) -> Iterator[tuple[Utterance, Utterance]]:
    """Pairs of utterances that are changed copies of one recording, in order, without those with equal samples."""
    heard = [(u, sound) for u, sound in sounds if sound.spectrum is not None]
    if len(heard) < 2:
        return
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=min(NEAREST, len(heard) - 1), algorithm="brute")
    distances, nearest = search.fit(np.stack([sound.spectrum for _, sound in heard])).kneighbors()
    rows, ranks = np.nonzero(distances <= FARTHEST_DB * np.sqrt(2 * BANDS))
    pairs = {(min(i, j), max(i, j)) for i, j in zip(rows.tolist(), nearest[rows, ranks].tolist(), strict=True)}
    waveform = lru_cache(maxsize=1 << 10)(_waveform)
    for (one, sound), (other, other_sound) in ((heard[i], heard[j]) for i, j in sorted(pairs)):
        if sound.digest != other_sound.digest and _correlation(waveform(one), waveform(other)) >= COPY:
            yield one, other


def _heard(u: Utterance) -> Sound:
    from toolkit.audio.reading import stretch

    digest, peak, channels, mono = hashlib.blake2b(digest_size=16), 0.0, 1, []
    try:
        file = stretch(u.path, start_s=u.start, end_s=u.end)
        for block in file.blocks():
            digest.update(block)
            peak, channels = max(peak, float(block.max()), -float(block.min())), block.shape[1]
            if sum(map(len, mono)) < LONGEST_S * file.rate:
                mono.append(block.mean(axis=1))
    except AudioError as error:
        return Sound(error)
    loud = (digest.digest(), _spectrum(np.concatenate(mono), file.rate)) if peak >= SILENT_PEAK else ()
    return Sound(None, file.frames, file.rate, channels, *loud)


def _spectrum(wave: np.ndarray, rate: int) -> np.ndarray:
    size = max(1, round(WINDOW_S * rate))  # not a power of 2, so that all rates have bins at the same frequencies
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(wave, (0, max(0, size - len(wave)))), size)
    frames = frames[:: max(1, round(HOP_S * rate))] * np.hanning(size).astype(np.float32)
    power = np.cumsum(np.abs(np.fft.rfft(frames)) ** 2, axis=1)
    edges = np.round(np.linspace(LOW_HZ, HIGH_HZ, BANDS + 1) * WINDOW_S).astype(int).clip(max=power.shape[1] - 1)
    bands = np.diff(power[:, edges], axis=1)
    level = bands.sum(axis=1)
    loud = bands[level >= level.max() * 10 ** (-RANGE_DB / 10)]
    decibels = 10 * np.log10(np.maximum(loud, max(level.max() * 10 ** (-DEPTH_DB / 10), 1e-20)))
    mean = decibels.mean(axis=0)
    return np.concatenate([mean - mean.mean(), decibels.std(axis=0)]).astype(np.float32)


def _waveform(u: Utterance) -> np.ndarray:
    """An utterance from LOW_HZ to HIGH_HZ, sampled at twice HIGH_HZ, with square roots of its magnitudes; norm 1."""
    from toolkit.audio.reading import stretch

    file = stretch(u.path, start_s=u.start, end_s=u.end)
    wave = np.concatenate([b.mean(axis=1) for b in file.blocks(stop=round(LONGEST_S * file.rate))])
    seconds = len(wave) // file.rate + 1
    bins = np.fft.rfft(wave, seconds * file.rate)[: seconds * HIGH_HZ + 1]
    bins[: seconds * LOW_HZ] = 0
    bins /= np.sqrt(np.maximum(np.abs(bins), 1e-6 * np.abs(bins).max() + 1e-20))
    wave = np.fft.irfft(bins, 2 * seconds * HIGH_HZ).astype(np.float32)
    return wave / max(np.linalg.norm(wave), 1e-20)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """The largest correlation of two waveforms at any lag, in steps of a quarter of a sample."""
    size = 1 << (len(one) + len(other) - 1).bit_length()
    product = np.fft.rfft(one, size) * np.fft.rfft(other, size).conj()
    return 4 * float(np.abs(np.fft.irfft(product, 4 * size)).max())
