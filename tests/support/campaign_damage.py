"""The damaged files of the robustness campaign: JSON with wrong values, files that are cut or gone, broken audio."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from campaign import Case, copied, edited

WAV = "WORK/corpus/1F0.wav"
# Values for what was edited in a JSON file; bytes stand for the whole file.
WRONG = (None, 0, -1, 1e308, "", "x", "\ud800", [], {}, [[]], {"x": {}}, True)
WHOLE = (b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 10_000 + b"]" * 10_000, b'{"a": ' + b"1" * 5000 + b"}", b'"x"')
# Files to edit: what is copied, the file in it, command lines, keys and the exit codes.
EDITS = (
    ("bundle", "config.json", (f"predict OWN/bundle {WAV}",), ("files", "levels", "recipe", "format"), (2,)),
    ("run", "results.json", ("export OWN/run OWN/b.zip",), ("epoch", "labels", "versions", "protocol"), (0, 2)),
    ("experiment", "experiment.json", ("status OWN/experiment", "report OWN/experiment --output OWN/r"),
     ("systems", "protocols", "folds", "seeds", "labels", "cells", "version"), (0, 2)),
    ("experiment", "runs/*/results.json", ("status OWN/experiment", "report OWN/experiment --output OWN/r"),
     ("ua", "stamps", "labels", "confusion", "epoch", "versions"), (0, 2)),
    ("experiment", "cells/*.json", ("status OWN/experiment", "report OWN/experiment --output OWN/r"),
     ("cell", "state", "started", "ended", "run", "error"), (0, 2)),
)  # fmt: skip
CUT = (
    ("experiment", "runs/*/predictions.csv", "report OWN/experiment --output OWN/r"),
    ("experiment", "runs/*/epochs.csv", "report OWN/experiment --output OWN/r"),
    ("experiment", "runs/*/epochs.csv", "status OWN/experiment"),
    ("experiment", "runs/*/embeddings.npz", "report OWN/experiment --output OWN/r"),
    ("bundle", "model.safetensors", f"predict OWN/bundle {WAV}"),
    ("bundle", "README.md", f"predict OWN/bundle {WAV}"),
    ("run", "recipe.yaml", "export OWN/run OWN/b.zip"),
    ("run", "manifest.csv", "export OWN/run OWN/b.zip"),
    ("run", "history.json", "export OWN/run OWN/b.zip"),
)


def damaged_files() -> Iterator[Case]:
    def edit(source, pattern, keys, value, line):
        def words(work: Path, own: Path) -> list[str]:
            edited(sorted(copied(work / source, own).glob(pattern))[0], keys, value)
            return line.split()

        return words

    for source, pattern, lines, keys, exits in EDITS:
        for line in lines:
            for value in WHOLE:
                yield Case(edit(source, pattern, (), value, line), f"{line}: {pattern} is {value[:20]!r}", exits)
            for number, key in enumerate(keys):
                for value in WRONG[number % 6 :: 6] if line.startswith("report") else WRONG:  # it takes a second
                    yield Case(
                        edit(source, pattern, (key,), value, line),
                        f"{line}: {key} of {pattern} is {value!r}",
                        (0, *exits),
                    )

    def cut(source, pattern, line, how):
        def words(work: Path, own: Path) -> list[str]:
            file = sorted(copied(work / source, own).glob(pattern))[0]
            data = file.read_bytes()
            file.unlink()
            if how == "a folder":
                file.mkdir()
            elif how == "a FIFO":
                os.mkfifo(file)
            elif how == "a device":
                file.symlink_to("/dev/zero")
            elif how == "a loop":
                file.symlink_to(file)
            elif how != "gone":
                file.write_bytes({"empty": b"", "half": data[: len(data) // 2], "binary": bytes(range(256)) * 4}[how])
            return line.split()

        return words

    for source, pattern, line in CUT:
        for how in ("gone", "empty", "half", "binary", "a folder", "a loop", "a FIFO", "a device"):
            yield Case(cut(source, pattern, line, how), f"{line}: {pattern} is {how}", (0, 1, 2))


def damaged_audio() -> Iterator[Case]:
    wave = np.sin(np.arange(8000) / 10).astype("float32")

    def wav(change):
        def words(work: Path, own: Path) -> list[str]:
            soundfile.write(own / "a.wav", wave, 16000)
            data = bytearray((own / "a.wav").read_bytes())
            (own / "a.wav").write_bytes(change(data))
            return ["predict", "WORK/bundle", "a.wav"]

        return words

    def put(at, value):
        return lambda data: bytes(data[:at] + value + data[at + len(value) :])

    changes = {
        "empty": lambda data: b"",
        "a header alone": lambda data: bytes(data[:44]),
        "half a header": lambda data: bytes(data[:20]),
        "random": lambda data: bytes(np.random.default_rng(0).integers(0, 256, 5000, dtype="uint8")),
        "a rate of 0": put(24, bytes(4)),
        "no channels": put(22, bytes(2)),
        "65535 channels": put(22, b"\xff\xff"),
        "0 bits": put(34, bytes(2)),
        "an unknown codec": put(20, b"\xee\xee"),
        "HTML": lambda data: b"<html><body>404</body></html>",
        "JSON": lambda data: b'{"error": "not found"}',
    }
    for about, change in changes.items():
        yield Case(wav(change), f"a.wav is {about}", (1, 2))
