"""`toolkit predict`: recordings in, rows out; recordings that cannot be labelled are named and skipped."""

import os
import sys
from collections.abc import Mapping, Sequence
from itertools import chain

import toolkit
from toolkit.errors import PredictionError, ToolkitError, join
from toolkit.inference.predict.covariates import check_options
from toolkit.inference.predict.output import ROWS, refuse_inputs, written
from toolkit.inference.predict.recordings import AUDIO_SUFFIXES, MANIFEST_SUFFIXES, STANDARD_INPUT, RecordingSources
from toolkit.statistics.confidence import CONFIDENCE, read_rule
from toolkit.terminal import progress, say


def predict(
    bundle: str,
    names: Sequence[str],
    *,
    format: str,
    segments: bool,
    hop_s: float | None,
    abstain: str,
    output: str | None,
    batch_size: int,
    device: str | None,
    covariates: Mapping[str, str],
    columns: Mapping[str, str] | None = None,
) -> bool:
    """Label the recordings in `names`, with the options of `toolkit predict`; returns whether all were labelled."""
    kind, _ = read_rule(abstain)
    if not any(name == STANDARD_INPUT or os.path.exists(name) for name in names):
        raise PredictionError(f"There is nothing to label: {join(names)} cannot be found")
    refuse_inputs(output, bundle, names)
    sources = RecordingSources(names, covariates, columns)
    complete = True

    def skip(message: str) -> None:
        nonlocal complete
        complete = False
        say(f"skipped: {message}")

    recordings = sources.recordings(skip, lambda message: say(f"NOTE: {message}"))
    if (first := next(recordings, None)) is None:
        raise PredictionError(f"There is nothing to label in {', '.join(names)}")
    model = toolkit.load(bundle, device=device)
    check_options(model.usage.covariates, covariates)
    model.usage.hop_samples(hop_s)
    threshold = model.threshold(abstain)
    by_segment = segments or format not in ROWS
    if by_segment and kind != CONFIDENCE:
        say(f"NOTE: --abstain {abstain} was fitted on whole recordings, and does not hold for segments")
    with written(format, output, model.usage, threshold, skip) as write:
        results = model.results(chain([first], recordings), batch_size=batch_size, hop_s=hop_s)
        shown = sys.stderr.isatty() and not (output is None and sys.stdout.isatty())
        for recording, result in progress(results, "labelling", total=sources.count() if shown else None, shown=shown):
            if isinstance(result, ToolkitError):
                known = getattr(result, "kind", "") != "unreadable" or recording.path.suffix.lower() in AUDIO_SUFFIXES
                hint = "" if known else f". Manifests end in {join(MANIFEST_SUFFIXES, 'or')}"
                skip(f"{result}{recording.where}{hint}")
            else:
                write(recording, result.segments if by_segment else (result,))
    return complete
