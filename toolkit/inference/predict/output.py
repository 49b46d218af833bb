"""Where predictions go: rows or RTTM on standard output or in a file, label tracks in a file for each recording.

A table is for readers, CSV and JSON lines are for programs, RTTM and the tracks of Audacity and Praat for annotation.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import TextIO
from urllib.parse import quote

from toolkit.errors import PredictionError
from toolkit.files import csv_text, replacing, to_cell, write_whole
from toolkit.inference.bundle.config import Usage
from toolkit.inference.predict.predictions import Interval, Prediction, intervals
from toolkit.inference.predict.recordings import AUDIO_SUFFIXES, Recording, Report
from toolkit.terminal import say

CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # control characters, which a terminal would obey
REMEDY = "choose another --output or make room"
Row = Callable[[str, str | None, Prediction], str]  # the line of a name, its label if any, and its prediction
RecordingWriter = Callable[[Recording, Iterable[Prediction]], None]  # takes a recording's predictions, in order


def refuse_inputs(output: str | None, bundle: str, names: Iterable[str] = ()) -> None:
    """Raise PredictionError if the output would replace the bundle, a file in its folder, an input or a recording."""
    if output is None or not os.path.isfile(output):
        return
    inputs = map(Path, (bundle, *Path(bundle).glob("*"), *names))
    replaced = any(path.exists() and path.samefile(output) for path in inputs)
    if replaced or Path(output).suffix.lower() in AUDIO_SUFFIXES:
        raise PredictionError(f"--output {output} would replace the bundle, an input or a recording: choose another")


@contextmanager
def written(
    format: str, output: str | None, usage: Usage, threshold: float, skip: Report = say
) -> Iterator[RecordingWriter]:
    """Print the system's stamps and yield a function that writes predictions; `threshold` is what a label needs."""
    for stamp in usage.stamps:
        say(f"NOTE: {stamp}")
    if format in TRACKS:
        yield _track_writer(format, output, usage.labels, threshold, skip)
        return
    with _opened(output) as file:
        head, row = ROWS[format](usage.labels, "; ".join(usage.stamps)) if format in ROWS else ("", None)
        file.write(head)

        def write(recording: Recording, predictions: Iterable[Prediction]) -> None:
            if row is None:
                texts = [rttm(recording.name, intervals(predictions, threshold))]
            else:
                texts = (row(recording.name, found.label_above(threshold), found) for found in predictions)
            for text in texts:
                file.write(text)
                file.flush()

        yield write


def _track_writer(
    format: str, output: str | None, labels: Sequence[str], threshold: float, skip: Report
) -> RecordingWriter:
    ending, text = TRACKS[format]
    if output is None or output.endswith(ending) or os.path.isfile(output):
        problem = "name a folder with --output" if output is None else f"--output {output} must be a folder"
        raise PredictionError(f"--format {format} writes a file for each recording: {problem}")
    for label in labels:
        if CONTROLS.search(label):
            raise PredictionError(f"--format {format} cannot hold the label {label!r}: jsonl and rttm can")
    files: dict[str, tuple] = {}  # name -> its recording, and which stretch of it

    def write(recording: Recording, predictions: Iterable[Prediction]) -> None:
        name = file_name(recording, ending)
        own = (recording.name, recording.start_s, recording.end_s)
        if (other := files.setdefault(name, own)) != own:
            skip(f"{recording.name}{recording.where}: {name} is already the file of {other[0]}: give another --output")
        elif found := intervals(predictions, threshold):
            write_whole(Path(output, name), text(found), PredictionError, REMEDY)

    return write


def file_name(recording: Recording, ending: str) -> str:
    """The path of a recording's file below --output: its own path below its folder, with the times of a stretch."""
    path, start, end = PurePath(recording.below), recording.start_s, recording.end_s
    times = "" if start is end is None else f"-{start or 0:.3f}-{'end' if end is None else f'{end:.3f}'}"
    return str(path.parent / f"{path.stem}{times}{ending}")


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


def table_rows(labels: Sequence[str], note: str) -> tuple[str, Row]:
    """The head and the rows of a table; the path, which may be long, comes last."""
    widths = {label: max(len("0.000"), len(label)) for label in labels}
    label_width = max(len("label"), *map(len, labels))

    def line(*cells: str) -> str:
        return CONTROLS.sub("?", "  ".join(cells)) + "\n"

    def row(name: str, label: str | None, found: Prediction) -> str:
        cells = [f"{found.start_s:7.2f}", f"{found.end_s:7.2f}", f"{label or '-':<{label_width}}"]
        cells += [f"{found.probabilities[known]:>{width}.3f}" for known, width in widths.items()]
        return line(*cells, f"{found.margin:6.3f}", name)

    heads = [f"{label:>{width}}" for label, width in widths.items()]
    return line("start s", "  end s", f"{'label':<{label_width}}", *heads, "margin", "path"), row


def csv_rows(labels: Sequence[str], note: str) -> tuple[str, Row]:
    """Columns path, start, end, label, margin, p_<label> of every class; note if there is one."""
    heads = ["path", "start", "end", "label", "margin", *(f"p_{label}" for label in labels)]
    last = [to_cell(note)] if note else []

    def row(name: str, label: str | None, found: Prediction) -> str:
        cells = [to_cell(name), f"{found.start_s:.3f}", f"{found.end_s:.3f}", to_cell(label or ""), repr(found.margin)]
        return csv_text([[*cells, *(repr(found.probabilities[known]) for known in labels), *last]])

    return csv_text([[*heads, "note"] if note else heads]), row


def json_rows(labels: Sequence[str], note: str) -> tuple[str, Row]:
    """A JSON object per line: path, start, end, label, margin, probabilities; note if there is one."""

    def row(name: str, label: str | None, found: Prediction) -> str:
        values = {"path": name, "start": round(found.start_s, 3), "end": round(found.end_s, 3), "label": label}
        values |= {"margin": found.margin, "probabilities": dict(found.probabilities)}
        values |= {"note": note} if note else {}
        return json.dumps(values, ensure_ascii=False) + "\n"

    return "", row


def rttm(name: str, found: Sequence[Interval]) -> str:
    """Lines of RTTM (NIST, 2009), of type SPEAKER, with the label as the speaker; spaces in a name become %20."""
    return "".join(
        f"SPEAKER {_word(name)} 1 {one.start_s:.3f} {round(one.end_s, 3) - round(one.start_s, 3):.3f} <NA> <NA> "
        f"{_word(one.label)} <NA> <NA>\n"
        for one in found
        if one.label is not None
    )


def audacity(found: Sequence[Interval]) -> str:
    """A label track: start, end and label, separated by tabs."""
    return "".join(f"{one.start_s:.6f}\t{one.end_s:.6f}\t{one.label}\n" for one in found if one.label is not None)


def textgrid(found: Sequence[Interval]) -> str:
    """A TextGrid in Praat's long text format, with one interval tier; intervals without a label are empty."""
    start, end = (f"xmin = {found[0].start_s:.6f}", f"xmax = {found[-1].end_s:.6f}")
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", start, end, "tiers? <exists>", "size = 1"]
    lines += ["item []:", "    item [1]:"]
    lines += [f"        {line}" for line in ('class = "IntervalTier"', 'name = "label"', start, end)]
    lines.append(f"        intervals: size = {len(found)}")
    for number, one in enumerate(found, start=1):
        text = (one.label or "").replace('"', '""')
        lines.append(f"        intervals [{number}]:")
        values = (f"xmin = {one.start_s:.6f}", f"xmax = {one.end_s:.6f}", f'text = "{text}"')
        lines += [f"            {value}" for value in values]
    return "\n".join(lines) + "\n"


def _word(text: str) -> str:
    return re.sub(rf"[\s%]|{CONTROLS.pattern}", lambda match: quote(match[0]), text)


ROWS = {"table": table_rows, "csv": csv_rows, "jsonl": json_rows}
TRACKS = {"audacity": (".txt", audacity), "textgrid": (".TextGrid", textgrid)}  # a file for each recording
