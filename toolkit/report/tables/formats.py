"""Formats of values: as text for a reader, and as plain numbers for a CSV file.

Accuracies are fractions of 1; a reader sees percent, and differences in points. An unknown value is an en dash for
a reader and empty in a CSV file.

>>> PERCENT.show(0.7056), POINTS.show(-0.004), PERCENT.show(None)
('70.56', '−0.40', '–')
>>> from toolkit.statistics.comparison import Interval
>>> INTERVAL.show(Interval(0.68914, 0.72196)), INTERVAL.plain(Interval(0.68914, 0.72196))
('68.91–72.20', (0.68914, 0.72196))
"""

from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Any

from toolkit.statistics.metrics import Spread
from toolkit.terminal import clock

DASH = "\N{EN DASH}"  # an unknown value
MINUS = "\N{MINUS SIGN}"
INCOMPLETE = "†"


@dataclass(frozen=True)
class Format:
    """The format of a column's values."""

    write: Callable[[Any], str]  # a known value -> text for a reader
    split: Callable[[Any], tuple] = lambda value: (value,)  # a known value -> one plain value for each part
    parts: tuple[str, ...] = ("",)  # suffixes of a value's CSV columns
    numeric: bool = True  # aligned to the right
    wraps: bool = False  # whether a page may wrap it
    page_only: bool = False  # whether files leave it out

    def show(self, value: Any) -> str:
        """Text for a reader."""
        return DASH if value is None else self.write(value)

    def plain(self, value: Any) -> tuple:
        """One value for each part; None where the value is unknown."""
        return (None,) * len(self.parts) if value is None else self.split(value)


def signed(value: float) -> str:
    """A difference with its sign; a value that rounds to 0 has none.

    >>> signed(1.24), signed(-0.1), signed(0.001)
    ('+1.24', '−0.10', '0.00')
    """
    text = f"{value:+.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", MINUS)


def _mean_and_sd(value: Spread) -> str:
    return f"{100 * value.mean:.2f}" + ("" if value.over_folds is None else f" ± {100 * value.over_folds:.2f}")


_ENDS = ("_low", "_high")
TEXT = Format(str, numeric=False)
LONG_TEXT = Format(str, numeric=False, wraps=True)
SYSTEM_NAME = Format(
    lambda v: v.name if v.complete else f"{v.name} {INCOMPLETE}", lambda v: (v.name,), numeric=False
)  # of `SystemRuns`
COUNT = Format(lambda v: f"{v:,}")
NUMBER = Format(lambda v: f"{v:.1f}")
SECONDS = Format(lambda v: f"{v:.2f}")
CLOCK = Format(clock)
PERCENT = Format(lambda v: f"{100 * v:.2f}")
NATS = Format(lambda v: f"{v:.3f}")
PERCENT_1 = Format(lambda v: f"{100 * v:.1f}")
INTERVAL = Format(lambda v: f"{100 * v.low:.2f}{DASH}{100 * v.high:.2f}", astuple, _ENDS)
POINTS = Format(lambda v: signed(100 * v))
POINTS_INTERVAL = Format(lambda v: f"{signed(100 * v.low)} to {signed(100 * v.high)}", astuple, _ENDS)
P_VALUE = Format(lambda v: "< 0.001" if v < 0.001 else f"{v:.3f}")
DONE = Format(lambda v: f"{v[0]} of {v[1]}", tuple, ("_done", "_planned"))
OVER_FOLDS = Format(_mean_and_sd, lambda v: (v.mean, v.over_folds), ("_fold_mean", "_fold_sd"))
OVER_SEEDS = Format(lambda v: PERCENT.show(v.over_seeds), lambda v: (v.over_seeds,), ("_seed_sd",))
AUDIO = Format(str, numeric=False, page_only=True)
