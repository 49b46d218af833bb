"""What a trained system has to be told of a recording beside its audio. Imports no torch."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from toolkit.corpus.targets import Target
from toolkit.errors import PredictionError, did_you_mean

COLUMN = "@"


def class_indices(wanted: Mapping[str, Sequence[str]], given: Mapping[str, str | None]) -> dict[str, int]:
    """The places of a recording's values among those that a system knows.

    Args:
        wanted: covariate -> its values in order.
        given: covariate -> the recording's value.

    Raises:
        PredictionError: if one that is wanted is not given, a value is not known, or one is given that is not wanted.

    >>> class_indices({"gender": ("F", "M")}, {"gender": "male"})
    {'gender': 1}
    """
    _check_names(wanted, given)
    for name, values in wanted.items():
        if not given.get(name):
            raise PredictionError(f"The system has to be told {name!r} of every recording: {_ways(name, values)}")
    return {
        name: Target(name, tuple(values)).index(given[name], error=PredictionError) for name, values in wanted.items()
    }


@dataclass(frozen=True)
class GivenCovariates:
    """What `--covariate` says: a value for all recordings, or the column of a manifest that holds each one's.

    Args:
        values: covariate -> value.
        columns: covariate -> column.
    """

    values: Mapping[str, str]
    columns: Mapping[str, str]

    @classmethod
    def read(cls, words: Sequence[str]) -> "GivenCovariates":
        """Read NAME=VALUE and NAME=@COLUMN.

        Raises:
            PredictionError: if a word is neither, or names a covariate again.

        >>> GivenCovariates.read(["gender=F", "language=@lang"])
        GivenCovariates(values={'gender': 'F'}, columns={'language': 'lang'})
        """
        values: dict[str, str] = {}
        columns: dict[str, str] = {}
        for word in words:
            name, equals, value = (part.strip() for part in word.partition("="))
            if not (name and equals and value.removeprefix(COLUMN)):
                raise PredictionError(f"--covariate {word!r}: NAME=VALUE or NAME=@COLUMN is needed, as gender=F")
            if name in values or name in columns:
                raise PredictionError(f"--covariate {name} is given twice; once is enough")
            if value.startswith(COLUMN):
                columns[name] = value.removeprefix(COLUMN)
            else:
                values[name] = value
        return cls(values, columns)

    def check(self, wanted: Mapping[str, Sequence[str]]) -> None:
        """Refuse what a system would refuse of every recording; arguments and errors as for `class_indices`."""
        self.check_names(wanted)
        missing = {name: values for name, values in wanted.items() if name not in self.columns}
        class_indices(missing, self.values)

    def check_names(self, wanted: Collection[str]) -> None:
        """Refuse a covariate that is not wanted."""
        _check_names(wanted, [*self.values, *self.columns])

    def only(self, names: Collection[str]) -> "GivenCovariates":
        """The same of some covariates."""
        return GivenCovariates(
            {name: value for name, value in self.values.items() if name in names},
            {name: column for name, column in self.columns.items() if name in names},
        )

    def of(self, row: Mapping[str, str | None]) -> dict[str, str]:
        """The values for a recording, with those of its row in a manifest."""
        found = {name: (row.get(column) or "").strip() for name, column in self.columns.items()}
        return {**self.values, **{name: value for name, value in found.items() if value}}


def _check_names(wanted: Collection[str], given: Iterable[str]) -> None:
    for name in given:
        if name not in wanted:
            listed = f"it has to be told {', '.join(wanted)}" if wanted else "it has to be told nothing but the audio"
            raise PredictionError(f"The system knows no covariate {name!r}: {listed}.{did_you_mean(name, wanted)}")


def _ways(name: str, values: Sequence[str]) -> str:
    return (
        f"--covariate {name}={values[0]} (known are {', '.join(values)}) for all of them, or --covariate {name}=@column"
        f" for a column of a manifest; in Python covariates={{{name!r}: {values[0]!r}}}"
    )
