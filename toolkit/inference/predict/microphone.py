"""`toolkit predict --microphone`: a row for each segment of what the microphone hears, until Ctrl-C."""

import queue
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import numpy as np

import toolkit
from toolkit.errors import PredictionError, ToolkitError, one_line
from toolkit.files import DISTRIBUTION
from toolkit.inference.predict.output import refuse_inputs, written
from toolkit.inference.predict.predictions import Prediction
from toolkit.inference.predict.recordings import Recording
from toolkit.terminal import say

HOP_S = 1.0  # a label a second, or one for each segment where segments are shorter
CHUNK_S = 0.1
LONGEST_WAIT_S = 60  # how much audio may wait for its labels


def listen(
    bundle: str,
    *,
    format: str,
    hop_s: float | None,
    abstain: str,
    output: str | None,
    device: str | None,
    covariates: Mapping[str, str],
) -> NoReturn:
    """Label what the default microphone hears, with the options of `toolkit predict`.

    Raises: KeyboardInterrupt after Ctrl-C; ToolkitError, also if the microphone stops by itself. What was heard until
        then is still labelled and written, except audio that waits for a system that is too slow.
    """
    refuse_inputs(output, bundle)
    with _sounddevice() as sounddevice:
        microphone = sounddevice.query_devices(kind="input")
    rate = int(microphone["default_samplerate"])
    model = toolkit.load(bundle, device=device)
    hop_s = min(HOP_S, model.usage.audio.segment_seconds) if hop_s is None else hop_s
    stream = model.stream(rate, hop_s=hop_s, covariates=covariates)
    reason: BaseException = KeyboardInterrupt()

    def labelled() -> Iterator[Prediction]:
        nonlocal reason
        try:
            for samples in _chunks(rate):
                yield from stream.add(samples)
        except ToolkitError as error:
            reason = error
        yield from stream.end()

    with written(format, output, model.usage, model.threshold(abstain)) as write:
        say(f"Listening to {one_line(microphone['name'])}; Ctrl-C ends it.")
        write(Recording(Path("microphone")), labelled())
    raise reason


def _chunks(rate: int) -> Iterator[np.ndarray]:
    """What the microphone hears until Ctrl-C, in chunks [samples], float32; PredictionError if it stops by itself."""
    heard: queue.Queue = queue.Queue()

    def take(samples: np.ndarray, frames: int, time: object, status: object) -> None:
        if not interrupted.is_set():
            heard.put((samples[:, 0].copy(), status))

    lost = False
    options = {"channels": 1, "dtype": "float32", "blocksize": round(CHUNK_S * rate), "callback": take}
    with (
        _interrupted() as interrupted,
        _sounddevice() as sounddevice,
        sounddevice.InputStream(samplerate=rate, **options) as microphone,
    ):
        while not (interrupted.is_set() and heard.empty()):
            if CHUNK_S * heard.qsize() > LONGEST_WAIT_S and not interrupted.is_set():
                waiting = f"{LONGEST_WAIT_S} s of it wait for labels"
                raise PredictionError(f"The system is slower than the audio: {waiting}. Give a larger --hop.")
            try:
                samples, status = heard.get(timeout=CHUNK_S)
            except queue.Empty:
                if not microphone.active:
                    raise PredictionError("The microphone has stopped: is it still connected?") from None
                continue
            if status and not lost:
                lost = True
                say(f"NOTE: the microphone lost audio: {one_line(str(status))}")
            yield samples


@contextmanager
def _sounddevice() -> Iterator[ModuleType]:
    """The library, whose errors become one line."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: its C library cannot be loaded
        needed = f"pip install '{DISTRIBUTION}[microphone]'; on Debian and Ubuntu also apt install libportaudio2"
        raise PredictionError(f"--microphone cannot be used ({one_line(str(error))}): {needed}.") from None
    try:
        yield sounddevice
    except (sounddevice.PortAudioError, ValueError) as error:
        needed = "connect one, or choose it in the system's settings"
        raise PredictionError(f"No microphone can be used ({one_line(str(error))}): {needed}.") from None


@contextmanager
def _interrupted() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets; a second Ctrl-C interrupts."""
    event = threading.Event()

    def note(*_: object) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
