"""`toolkit predict`: recordings in, rows out; what cannot be labelled is named and skipped."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TextIO

from toolkit.errors import PredictionError, ToolkitError, join
from toolkit.inference.predict.covariate_values import GivenCovariates
from toolkit.inference.predict.formats import FORMATS, Rows
from toolkit.inference.predict.recordings import Recording
from toolkit.inference.predict.sources import STANDARD_INPUT, Sources
from toolkit.inference.predict.telling import Skipped, progress, say_stamps


@dataclass(frozen=True)
class Settings:
    """The options of `toolkit predict`.

    Args:
        format: one of `FORMATS`.
        segments: whether every segment has a row, instead of every recording.
        abstain: the confidence under which an answer has no label.
        output: a file for the rows; None is standard output.
        batch_size: segments a batch.
        device: where the system computes.
        covariates: NAME=VALUE or NAME=@COLUMN.
    """

    format: str
    segments: bool
    abstain: float | None
    output: str | None
    batch_size: int
    device: str | None
    covariates: Sequence[str]


def predict(
    bundle: str, words: Sequence[str], settings: Settings, *, lines: Iterable[bytes], say: Callable[[str], None]
) -> bool:
    """Label what the words name.

    Args:
        bundle: the trained system's.
        words: as for `Sources`.
        settings: the options.
        lines: of standard input.
        say: prints a line for the reader.

    Returns:
        Whether everything was labelled.

    Raises:
        ToolkitError: if the bundle, a manifest or an option is wrong, or there is nothing to label.
    """
    if not any(word == STANDARD_INPUT or os.path.exists(word) for word in words):  # noqa: PTH110 - Path.exists may raise
        raise PredictionError(f"There is nothing to label: {join(words)} cannot be found")
    sources = Sources(words, GivenCovariates.read(settings.covariates), lines)
    skipped = Skipped(say)
    recordings = sources.recordings(skipped)
    first = next(recordings, None)
    if first is None:
        raise PredictionError(f"There is nothing to label in {', '.join(words)}")
    from toolkit.inference.predict import loading

    model = loading.load(bundle, device=settings.device)
    sources.covariates.check(model.usage.covariates)
    say_stamps(model.usage.stamps, say)
    with _opened(settings.output) as file:
        rows = FORMATS[settings.format](
            file, model.labels, abstain=settings.abstain, note="; ".join(model.usage.stamps)
        )
        shown = sys.stderr.isatty() and not file.isatty()
        total = sum(1 for _ in sources.recordings(lambda message: None)) if shown and sources.countable else None
        results = model.results(chain([first], recordings), batch_size=settings.batch_size)
        _write(progress(results, total=total, shown=shown), rows, skipped, segments=settings.segments)
    return not skipped.count


def _write(results: Iterator[tuple[Recording, object]], rows: Rows, skipped: Skipped, *, segments: bool) -> None:
    rows.begin()
    for recording, result in results:
        if isinstance(result, ToolkitError):
            skipped(str(result))
            continue
        for answer in result.segments if segments else (result,):
            rows.write(recording.name, answer)
        rows.file.flush()


@contextmanager
def _opened(output: str | None) -> Iterator[TextIO]:
    """Standard output, or a file that is there once it is whole."""
    if output is None:
        sys.stdout.reconfigure(errors="surrogateescape")  # file names are bytes, and come out as they came in
        yield sys.stdout
        sys.stdout.flush()
        return
    path = Path(output)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            yield file
        partial.replace(path)
    except OSError as error:
        raise PredictionError(f"{path} could not be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
