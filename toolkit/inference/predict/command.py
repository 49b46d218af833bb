"""`toolkit predict`: recordings in, rows out; what cannot be labelled is named and skipped."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TextIO

import toolkit
from toolkit.errors import PredictionError, ToolkitError, join
from toolkit.files import replacing
from toolkit.inference.predict.covariates import GivenCovariates
from toolkit.inference.predict.predictions import FORMATS
from toolkit.inference.predict.recordings import AUDIO_SUFFIXES, MANIFEST_SUFFIXES, STANDARD_INPUT, RecordingSources
from toolkit.terminal import progress, say


def predict(
    bundle: str,
    names: Sequence[str],
    *,
    format: str,
    segments: bool,
    hop_s: float | None,
    abstain: float | None,
    output: str | None,
    batch_size: int,
    device: str | None,
    covariates: Sequence[str],
    lines: Iterable[bytes],
    columns: Mapping[str, str] | None = None,
) -> bool:
    """Label what is named, with the options of `toolkit predict`; `lines` are those of standard input.

    Returns: whether everything was labelled.
    Raises: ToolkitError if the bundle, a manifest or an option is wrong, or there is nothing to label.
    """
    if not any(name == STANDARD_INPUT or os.path.exists(name) for name in names):
        raise PredictionError(f"There is nothing to label: {join(names)} cannot be found")
    sources = RecordingSources(names, GivenCovariates.read(covariates), lines, columns)
    complete = True

    def skip(message: str) -> None:
        nonlocal complete
        complete = False
        say(f"skipped: {message}")

    recordings = sources.recordings(skip, lambda message: say(f"NOTE: {message}"))
    if (first := next(recordings, None)) is None:
        raise PredictionError(f"There is nothing to label in {', '.join(names)}")
    model = toolkit.load(bundle, device=device)
    sources.covariates.check(model.usage.covariates)
    model.usage.hop_samples(hop_s)
    for stamp in model.usage.stamps:
        say(f"NOTE: {stamp}")
    with _opened(output) as file:
        write = FORMATS[format](file, model.labels, "; ".join(model.usage.stamps))
        results = model.results(chain([first], recordings), batch_size=batch_size, hop_s=hop_s)
        shown = sys.stderr.isatty() and not file.isatty()
        for recording, result in progress(results, "labelling", total=sources.count() if shown else None, shown=shown):
            if isinstance(result, ToolkitError):
                known = getattr(result, "kind", "") != "unreadable" or recording.path.suffix.lower() in AUDIO_SUFFIXES
                hint = "" if known else f". Manifests end in {join(MANIFEST_SUFFIXES, 'or')}"
                skip(f"{result}{recording.where}{hint}")
                continue
            for prediction in result.segments if segments else (result,):
                write(recording.name, prediction.label_above(abstain or 0.0), prediction)
            file.flush()
    return complete


@contextmanager
def _opened(output: str | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears when it is whole; file names are bytes, and come out as they came in."""
    if output is None:
        if sys.stdout is None:
            raise PredictionError("Standard output is closed: give a file by --output")
        yield sys.stdout
        sys.stdout.flush()
        return
    with (
        replacing(Path(output), PredictionError, "choose another --output or make room") as partial,
        partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        yield file
