"""Checks of a constructor's arguments: one line that says which, what was found and what is allowed."""

from toolkit.errors import did_you_mean


def at_least(minimum: float, **values: float) -> None:
    """Raise ValueError for the first value below `minimum`.

    >>> at_least(1, hop=0)
    Traceback (most recent call last):
    ValueError: hop is 0; it has to be at least 1
    """
    for name, value in values.items():
        if not value >= minimum:
            raise ValueError(f"{name} is {value}; it has to be at least {minimum}")


def fraction(**values: float) -> None:
    """Raise ValueError for the first value that is not in [0, 1)."""
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ValueError(f"{name} is {value}; it has to be at least 0 and less than 1")


def one_of(known: tuple[str, ...], **values: str) -> None:
    """Raise ValueError for the first value that is not among `known`.

    >>> one_of(("log_mel", "mfcc"), series="mfc")
    Traceback (most recent call last):
    ValueError: series is 'mfc'; known: log_mel, mfcc. Did you mean 'mfcc'?
    """
    for name, value in values.items():
        if value not in known:
            raise ValueError(f"{name} is {value!r}; known: {', '.join(known)}.{did_you_mean(value, known)}")
