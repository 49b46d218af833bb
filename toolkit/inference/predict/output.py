"""Where predictions go: rows or RTTM on standard output or in a file, label tracks in a file for each recording."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from toolkit.errors import PredictionError
from toolkit.files import replacing, write_whole
from toolkit.inference.predict.predictions import CONTROLS, FORMATS, Prediction
from toolkit.inference.predict.recordings import Recording, Report
from toolkit.inference.predict.tracks import ENDINGS, LabelOf, audacity, file_name, intervals, rttm, textgrid

REMEDY = "choose another --output or make room"
Write = Callable[[Recording, Iterable[Prediction]], None]  # a recording's predictions, in order


def check_output(output: str | None, format: str, labels: Sequence[str]) -> None:
    """Refuse an output that a format cannot be written to, and labels that it cannot hold: PredictionError."""
    if format not in ENDINGS:
        return
    if output is None:
        raise PredictionError(f"--format {format} writes a file for each recording: name a folder with --output")
    if output.endswith(ENDINGS[format]) or os.path.isfile(output):
        raise PredictionError(f"--format {format} writes a file for each recording: --output {output} must be a folder")
    for label in filter(CONTROLS.search, labels):
        raise PredictionError(f"--format {format} cannot hold the label {label!r}: jsonl and rttm can")


def of_different_files(recordings: Iterable[Recording], format: str, skip: Report) -> Iterator[Recording]:
    """The recordings without those whose file would be that of an earlier one; these are skipped."""
    taken: dict[str, str] = {}
    for recording in recordings:
        if format in ENDINGS:
            name = file_name(recording, format)
            if (other := taken.setdefault(name, recording.name)) != recording.name:
                skip(f"{recording.name}: {name} is already the file of {other}: give it another --output")
                continue
        yield recording


@contextmanager
def written(format: str, output: str | None, labels: Sequence[str], note: str, label_of: LabelOf) -> Iterator[Write]:
    """Yield a function that writes predictions; a file of rows or RTTM appears only once it is complete."""
    if format in ENDINGS:
        text = {"audacity": audacity, "textgrid": textgrid}[format]

        def write_file(recording: Recording, predictions: Iterable[Prediction]) -> None:
            if found := intervals(predictions, label_of):
                write_whole(Path(output, file_name(recording, format)), text(found), PredictionError, REMEDY)

        yield write_file
        return
    with _opened(output) as file:
        row = None if format == "rttm" else FORMATS[format](file, labels, note)

        def write(recording: Recording, predictions: Iterable[Prediction]) -> None:
            if row is None:
                file.write(rttm(recording.name, intervals(predictions, label_of)))
            else:
                for found in predictions:
                    row(recording.name, label_of(found), found)
                    file.flush()
            file.flush()

        yield write


@contextmanager
def _opened(output: str | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears once it is complete; file names that are not UTF-8 pass unchanged."""
    if output is None:
        if sys.stdout is None:
            raise PredictionError("Standard output is closed: name a file with --output")
        yield sys.stdout
        sys.stdout.flush()
        return
    with (
        replacing(Path(output), PredictionError, REMEDY, stream=True) as partial,
        partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        yield file
