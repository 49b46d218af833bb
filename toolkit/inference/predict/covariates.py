"""Covariates: what a system needs with a recording besides its audio. Imports no torch."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from toolkit.corpus.targets import Target
from toolkit.errors import PredictionError, did_you_mean

COLUMN = "@"


def class_indices(wanted: Mapping[str, Sequence[str]], given: Mapping[str, str | None]) -> dict[str, int]:
    """The indices of a recording's values among those that a system knows; PredictionError if one is not."""
    check_names(wanted, given)
    for name, values in wanted.items():
        if not str(given.get(name) or "").strip():
            raise PredictionError(
                f"The system needs {name!r} with every recording: --covariate {name}={values[0]} (it knows "
                f"{', '.join(values)}) for all of them, or --covariate {name}=@column for a column of a manifest; in "
                f"Python covariates={{{name!r}: {values[0]!r}}}"
            )
    return {name: target.index(given[name], error=PredictionError) for name, target in Target.by_name(wanted).items()}


def check_names(wanted: Collection[str], given: Iterable[str]) -> None:
    """Refuse a covariate that a system does not know, with a PredictionError."""
    for name in given:
        if name not in wanted:
            needed = f"it needs {', '.join(wanted)}" if wanted else "it needs nothing but the audio"
            raise PredictionError(f"The system knows no covariate {name!r}: {needed}.{did_you_mean(name, wanted)}")


def columns_of(options: Mapping[str, str]) -> dict[str, str]:
    """The columns of a manifest that options name: covariate -> column, of those that are `@COLUMN` and not a value."""
    return {name: text[len(COLUMN) :] for name, text in options.items() if text.startswith(COLUMN)}


def check_options(wanted: Mapping[str, Sequence[str]], options: Mapping[str, str]) -> None:
    """Refuse options that a system would refuse for every recording, with a PredictionError."""
    known = {name: wanted[name][0] for name in columns_of(options) if name in wanted}
    class_indices(wanted, options | known)  # as if columns held known values


def check_columns(options: Mapping[str, str], known: Collection[str], manifest: str) -> None:
    """Refuse an option for a column that a manifest lacks, with a PredictionError."""
    for name, column in columns_of(options).items():
        if column not in known:
            found = f"{manifest} has no column {column!r}; found {', '.join(known)}"
            raise PredictionError(f"--covariate {name}={COLUMN}{column}: {found}.{did_you_mean(column, known)}")


def covariates_of(
    options: Mapping[str, str], value_in: Callable[[str], str | None] = lambda column: None
) -> dict[str, str | None]:
    """The values for a recording; `value_in` gives the one in a column of its row, where it is from a manifest."""
    return options | {name: value_in(column) for name, column in columns_of(options).items()}
