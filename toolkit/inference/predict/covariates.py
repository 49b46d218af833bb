"""Covariates: what a system needs with a recording beside its audio. Imports no torch."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from toolkit.corpus.targets import Target
from toolkit.errors import PredictionError, did_you_mean

COLUMN = "@"


def class_indices(wanted: Mapping[str, Sequence[str]], given: Mapping[str, str | None]) -> dict[str, int]:
    """The indices of a recording's values (`given`) among those that a system knows (`wanted`), by covariate.

    Raises: PredictionError if a wanted covariate is not given, a given one is not wanted, or a value is unknown.
    """
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
    """Refuse a covariate that a system does not know; errors as for `class_indices`."""
    for name in given:
        if name not in wanted:
            needed = f"it needs {', '.join(wanted)}" if wanted else "it needs nothing but the audio"
            raise PredictionError(f"The system knows no covariate {name!r}: {needed}.{did_you_mean(name, wanted)}")


@dataclass(frozen=True)
class GivenCovariates:
    """The `--covariate` options: values for all recordings, and manifest columns with a value for each."""

    values: Mapping[str, str]
    columns: Mapping[str, str]

    @classmethod
    def of(cls, options: Mapping[str, str]) -> "GivenCovariates":
        """Read NAME=VALUE and NAME=@COLUMN."""
        columns = {name: text[len(COLUMN) :] for name, text in options.items() if text.startswith(COLUMN)}
        return cls({name: text for name, text in options.items() if name not in columns}, columns)

    def check(self, wanted: Mapping[str, Sequence[str]]) -> None:
        """Refuse what a system would refuse for every recording; arguments and errors as for `class_indices`."""
        check_names(wanted, self.columns)
        class_indices({name: values for name, values in wanted.items() if name not in self.columns}, self.values)

    def values_for(self, value_in: Callable[[str], str | None]) -> dict[str, str]:
        """The values for a recording; `value_in` gives the value in a column of its row in a manifest."""
        return {**self.values, **{name: value_in(column) or "" for name, column in self.columns.items()}}
