"""An answer on the page, as HTML: the waveform over its segments, which are coloured and named by label."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from toolkit.audio.reading import AudioStretch
from toolkit.files import templates
from toolkit.inference.predict.predictions import Prediction, intervals
from toolkit.report.figures.figure import COLOURS, INK, YELLOW

COLUMNS = 600  # of a waveform's outline
PALETTE = (*(colour for colour in COLOURS if colour != INK), YELLOW, "#999999")  # ink is invisible on a dark page
TICKS, LAST = 6, 0.93  # their greatest number, and the fraction of the width beyond which text has no room
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600)  # seconds from tick to tick
TEMPLATES = Path(__file__).parent / "template"
STYLE = (TEMPLATES / "demo.css").read_text(encoding="utf-8")


def outline(audio: AudioStretch) -> np.ndarray:
    """The peaks of a recording in stretches of equal length, as fractions of the highest: [COLUMNS], float32."""
    peaks, at = np.zeros(COLUMNS, dtype=np.float32), 0
    for block in audio.blocks():
        columns = np.arange(at, at + len(block)) * COLUMNS // audio.frames
        np.maximum.at(peaks, columns, np.abs(block).max(axis=1))
        at += len(block)
    return peaks / (peaks.max() or 1)


def ticks(seconds: float) -> list[tuple[float, str]]:
    """Times in seconds to mark below a waveform, each with its text.

    >>> ticks(2.5)
    [(0.0, '0 s'), (0.5, '0.5 s'), (1.0, '1 s'), (1.5, '1.5 s'), (2.0, '2 s')]
    >>> ticks(100)
    [(0, '0:00'), (30, '0:30'), (60, '1:00'), (90, '1:30')]
    """
    step = next((step for step in STEPS if seconds / step <= TICKS), seconds)
    times = [number * step for number in range(TICKS + 1) if number * step <= LAST * seconds]
    return [(t, f"{t // 60:.0f}:{t % 60:02.0f}" if seconds >= 60 else f"{t:g} s") for t in times]


def answer_html(prediction: Prediction, peaks: np.ndarray, *, abstain: float, colours: Mapping[str, str]) -> str:
    """The answer as HTML.

    Args: prediction: of a recording; peaks: its `outline`; abstain: the confidence that a label needs;
        colours: label -> CSS colour.
    """
    found, totals = intervals(prediction.segments, abstain), Counter()
    for interval in found:
        totals[interval.label] += interval.end_s - interval.start_s
    upper = [f"{column} {50 - 48 * peak:.1f}" for column, peak in enumerate(peaks)]
    lower = [f"{column} {50 + 48 * peak:.1f}" for column, peak in enumerate(peaks)]
    template = templates(TEMPLATES, autoescape=True).get_template("answer.html.j2")
    return template.render(
        prediction=prediction,
        abstain=abstain,
        columns=COLUMNS,
        path=f"M{'L'.join(upper + lower[::-1])}Z",
        intervals=found,
        totals=totals,
        ticks=ticks(prediction.seconds),
        colours=colours,
    )


def colours_of(labels: Iterable[str]) -> dict[str, str]:
    """A colour for each label; colours repeat if there are more labels than colours."""
    return {label: PALETTE[index % len(PALETTE)] for index, label in enumerate(dict.fromkeys(labels))}
