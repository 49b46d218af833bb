"""Labels over time, as annotation programs open them: RTTM, Audacity's label tracks, Praat's TextGrids. No torch."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from urllib.parse import quote

from toolkit.inference.predict.predictions import CONTROLS, Prediction
from toolkit.inference.predict.recordings import Recording

TRACKS = ("rttm", "audacity", "textgrid")  # formats that hold intervals
ENDINGS = {"audacity": ".txt", "textgrid": ".TextGrid"}  # of formats that write a file for each recording


@dataclass(frozen=True)
class Interval:
    """A stretch of a recording with one label, or with none."""

    start_s: float
    end_s: float
    label: str | None


def intervals(segments: Iterable[Prediction], threshold: float) -> list[Interval]:
    """Segments of a recording as consecutive intervals; one has no label if its confidence is below `threshold`.

    Overlapping segments are divided at the middle of their overlap; neighbours with the same label are one interval.
    """
    found: list[Interval] = []
    for segment in segments:
        start_s, label = segment.start_s, segment.label_above(threshold)
        if found and found[-1].label == label:
            start_s = found.pop().start_s
        elif found:
            start_s = (found[-1].end_s + start_s) / 2
            found[-1] = replace(found[-1], end_s=start_s)
        found.append(Interval(start_s, segment.end_s, label))
    return found


def rttm(name: str, found: Sequence[Interval]) -> str:
    """Lines of RTTM (NIST, 2009), of type SPEAKER, with the label as the speaker.

    Columns are separated by spaces, so spaces in a name or label become %20, as in a URL.
    """
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


def file_name(recording: Recording, format: str) -> str:
    """The path of a recording's file below --output: its own path below its folder, with the times of a stretch."""
    path, start, end = PurePath(recording.below), recording.start_s, recording.end_s
    times = "" if start is end is None else f"-{start or 0:.3f}-{'end' if end is None else f'{end:.3f}'}"
    # not `with_stem`: the path `.`, a folder that was named by mistake, has no stem
    return str(path.parent / f"{path.stem}{times}{ENDINGS[format]}")


def _word(text: str) -> str:
    return re.sub(rf"[\s%]|{CONTROLS.pattern}", lambda match: quote(match[0]), text)
