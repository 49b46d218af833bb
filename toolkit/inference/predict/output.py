"""Where predictions go: rows or RTTM on standard output or in a file, label tracks in a file for each recording."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TextIO

from toolkit.errors import PredictionError
from toolkit.files import replacing, write_whole
from toolkit.inference.bundle.config import Usage
from toolkit.inference.predict.predictions import CONTROLS, FORMATS, Prediction, RowWriter
from toolkit.inference.predict.recordings import AUDIO_SUFFIXES, Recording, Report
from toolkit.inference.predict.tracks import ENDINGS, audacity, file_name, intervals, rttm, textgrid
from toolkit.terminal import say

REMEDY = "choose another --output or make room"
LONGEST_NAME = 255  # bytes of a file's name, on the usual file systems
RecordingWriter = Callable[[Recording, Iterable[Prediction]], None]  # takes a recording's predictions, in order


def refuse_inputs(output: str | None, bundle: str, names: Iterable[str] = ()) -> None:
    """Raise PredictionError if the output would replace the bundle, a file in its folder, a name or a recording."""
    if output is None or not os.path.isfile(output):
        return
    folder = Path(os.path.expanduser(bundle))
    if any(os.path.exists(path) and path.samefile(output) for path in (folder, *folder.glob("*"))):
        raise PredictionError(f"--output {output} would replace the bundle: choose another")
    named = any(os.path.exists(name) and Path(name).samefile(output) for name in names)
    if named or Path(output).suffix.lower() in AUDIO_SUFFIXES:
        raise PredictionError(f"--output {output} would replace an input or a recording: choose another")


def with_own_file(recordings: Iterable[Recording], format: str, skip: Report) -> Iterator[Recording]:
    """The recordings; skips those whose file would be that of an earlier one or would have too long a name."""
    if format not in ENDINGS:
        yield from recordings
        return
    taken: dict[str, Recording] = {}
    for recording in recordings:
        name = file_name(recording, format)
        other = taken.setdefault(name, recording)
        if any(getattr(other, part) != getattr(recording, part) for part in ("name", "start_s", "end_s")):
            shown, where = f"{recording.name}{recording.where}", f"{other.name}{other.where}"
            skip(f"{shown}: {name} is already the file of {where}: give it another --output")
        elif len(os.fsencode(Path(name).name)) > LONGEST_NAME:
            skip(f"{recording.name}: {name} is too long for the name of a file: rename the recording")
        else:
            yield recording


@contextmanager
def written(format: str, output: str | None, usage: Usage, threshold: float) -> Iterator[RecordingWriter]:
    """Print the system's stamps and yield a function that writes predictions.

    A file of rows or RTTM appears only once it is complete.

    Args: format, output: of `toolkit predict`; usage: of the system; threshold: a label needs this confidence.
    Raises: PredictionError if the output is not one for the format, or the format cannot hold a label.
    """
    if format in ENDINGS:
        _check_folder(output, format, usage.labels)
    for stamp in usage.stamps:
        say(f"NOTE: {stamp}")
    if format in ENDINGS:
        yield partial(_write_track, output, format, threshold)
        return
    with _opened(output) as file:
        if format == "rttm":
            yield partial(_write_rttm, file, threshold)
        else:
            write_row = FORMATS[format](file, usage.labels, "; ".join(usage.stamps))
            yield partial(_write_rows, file, write_row, threshold)


def _write_track(
    folder: str, format: str, threshold: float, recording: Recording, predictions: Iterable[Prediction]
) -> None:
    if found := intervals(predictions, threshold):
        text = {"audacity": audacity, "textgrid": textgrid}[format]
        write_whole(Path(folder, file_name(recording, format)), text(found), PredictionError, REMEDY)


def _write_rttm(file: TextIO, threshold: float, recording: Recording, predictions: Iterable[Prediction]) -> None:
    file.write(rttm(recording.name, intervals(predictions, threshold)))
    file.flush()


def _write_rows(
    file: TextIO, write_row: RowWriter, threshold: float, recording: Recording, predictions: Iterable[Prediction]
) -> None:
    for found in predictions:
        write_row(recording.name, found.label_above(threshold), found)
        file.flush()


def _check_folder(output: str | None, format: str, labels: Sequence[str]) -> None:
    if output is None:
        raise PredictionError(f"--format {format} writes a file for each recording: name a folder with --output")
    if output.endswith(ENDINGS[format]) or os.path.isfile(output):
        raise PredictionError(f"--format {format} writes a file for each recording: --output {output} must be a folder")
    for label in labels:
        if CONTROLS.search(label):
            raise PredictionError(f"--format {format} cannot hold the label {label!r}: jsonl and rttm can")


@contextmanager
def _opened(output: str | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears once it is complete; file names that are not UTF-8 pass unchanged."""
    if output is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    if os.path.isdir(output):
        raise PredictionError(f"--output {output} is a folder: the rows of all recordings go to one file, name it")
    with (
        replacing(Path(output), PredictionError, REMEDY) as unfinished,
        unfinished.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        yield file
