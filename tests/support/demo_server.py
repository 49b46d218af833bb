"""`toolkit demo` in a process of its own, and what a program asks it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import soundfile

BUNDLE = Path(__file__).parents[1] / "data" / "bundle-0.1.0.zip"  # classes noise and tone, covariate gender
RATE = 16_000


def sweep(path: Path, seconds: float = 1.5, rate: int = RATE) -> Path:
    """A tone that rises from 200 Hz, of which the bundle says noise, 57.5 % for F."""
    time = np.arange(round(seconds * rate)) / rate
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * (200 + 150 * time) * time), rate, subtype="FLOAT")
    return path


@dataclass
class Demo:
    """A page that is served."""

    url: str
    process: subprocess.Popen
    folder: Path  # its own for temporary files
    directory: Path  # where the command was given

    def files(self) -> list[Path]:
        """What it keeps on disk."""
        return [path for root in (self.folder, self.directory) for path in root.rglob("*") if path.is_file()]

    def upload(self, name: str, content: bytes) -> str:
        """Upload a file as the page does; where it lies."""
        head = f'--b\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        body = head.encode() + content + b"\r\n--b--\r\n"
        kind = {"Content-Type": "multipart/form-data; boundary=b"}
        with urlopen(Request(f"{self.url}gradio_api/upload", body, kind)) as answer:
            return json.load(answer)[0]

    def label(self, path: str, gender: str | None = "F", kind: str = "confidence", share: float = 0) -> list[str]:
        """Label a file that lies there: why it is refused, and each system's answer, as HTML; empty for an error."""
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        body = json.dumps({"data": [file, kind, share, gender]}).encode()
        with urlopen(Request(f"{self.url}gradio_api/call/label", body, {"Content-Type": "application/json"})) as answer:
            event = json.load(answer)["event_id"]
        with urlopen(f"{self.url}gradio_api/call/label/{event}") as answer:
            kind, data = answer.read().decode().split("\n")[:2]
        return json.loads(data.removeprefix("data: "))[1:] if kind == "event: complete" else []


@contextmanager
def served_demo(folder: Path, *words: object) -> Iterator[Demo]:
    """The page of `toolkit demo WORDS` meanwhile."""
    temporary, directory = folder / "temporary", folder / "directory"
    temporary.mkdir()
    directory.mkdir()
    command = [sys.executable, "-m", "toolkit", "demo", *map(str, words)]
    nobody = "http://127.0.0.1:9"  # a proxy that would be asked for the page
    environment = os.environ | {"TMPDIR": str(temporary), "HTTP_PROXY": nobody, "http_proxy": nobody}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=directory, env=environment, **pipes) as process:
        try:
            url = process.stdout.readline().strip()
            assert url, process.stderr.read()
            yield Demo(url, process, temporary, directory)
        finally:
            process.kill()
