"""sounddevice with a microphone that hears a file.

`python tests/support/fake_sounddevice.py FILE ARGUMENTS` is `toolkit ARGUMENTS` with it, and with stand-in bundles.
"""

import runpy
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import soundfile


class PortAudioError(Exception):
    pass


class FakeSounddevice(ModuleType):
    """A file is heard at once when the stream is opened, and then what `then` does happens."""

    PortAudioError = PortAudioError

    def __init__(self, file: Path | None, then: Callable[[], object] = lambda: signal.raise_signal(signal.SIGINT)):
        super().__init__("sounddevice")
        self.samples, self.rate = soundfile.read(file, dtype="float32") if file else (None, None)
        self.then, self.status, self.active = then, "", True

    def query_devices(self, kind):
        assert kind == "input"
        if self.samples is None:
            raise PortAudioError("Error querying device -1")
        return {"name": "file", "default_samplerate": float(self.rate)}

    def InputStream(self, *, samplerate, channels, dtype, blocksize, callback):  # noqa: N802
        assert (samplerate, channels, dtype) == (self.rate, 1, "float32")
        self.blocksize, self.callback = blocksize, callback
        return self

    def __enter__(self):
        buffer = np.empty((self.blocksize, 1), np.float32)  # of which PortAudio makes use again
        for start in range(0, len(self.samples), self.blocksize):
            block = self.samples[start : start + self.blocksize, None]
            buffer[: len(block)] = block
            self.callback(buffer[: len(block)], len(block), None, self.status)
        self.then()
        return self

    def __exit__(self, *error):
        self.active = False


if __name__ == "__main__":
    file, *sys.argv[1:] = sys.argv[1:]
    heard = threading.Event()
    sys.modules["sounddevice"] = FakeSounddevice(Path(file), then=heard.set)
    runpy.run_path(str(Path(__file__).with_name("stand_in_bundle.py")), run_name="__main__")
