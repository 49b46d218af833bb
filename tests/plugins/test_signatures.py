from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pytest

from toolkit.errors import RecipeError
from toolkit.plugins.signatures import (
    REQUIRED,
    check_arguments,
    read_arguments,
    read_meanings,
    read_source,
    resolved_arguments,
)
from toolkit.recipe.checks import Location, Mismatch, check_value, type_text


class Parent:
    """A parent.

    Args:
        hop: step in samples.
    """


class Mfcc(Parent):
    """MFCC.

    Longer text: with a colon.

    Args:
        n_mfcc: number of coefficients, over
            two lines.
        window (str): shape of the window.

    Attributes:
        channels: not an argument.

    Source: Davis and Mermelstein, "Comparison
        of parametric representations", 1980.
    """

    def __init__(
        self, *, sample_rate: int, n_mfcc: int = 40, hop: int = 160, window: Literal["hann", "hamming"] = "hann"
    ):
        pass


def test_arguments_come_with_type_default_and_meaning():
    sample_rate, n_mfcc, hop, window = read_arguments(Mfcc)
    assert sample_rate.default is REQUIRED
    assert (n_mfcc.type, n_mfcc.default) == ("int", 40)
    assert n_mfcc.meaning == "number of coefficients, over two lines."
    assert hop.meaning == "step in samples."
    assert (window.type, window.meaning) == ("'hann' | 'hamming'", "shape of the window.")


def test_the_source_is_read_over_several_lines():
    assert read_source(Mfcc) == 'Davis and Mermelstein, "Comparison of parametric representations", 1980.'
    assert read_source(Parent) == ""


def test_a_docstring_without_args_has_no_meanings():
    class Other:
        """Nothing.

        Returns:
            x: y.
        """

    assert read_meanings(Other) == read_meanings(object) == {}


@pytest.mark.parametrize("replaced", [False, True], ids=["as it is", "by torch's compiler"])
def test_a_module_without_a_constructor_takes_nothing(monkeypatch, replaced):
    from torch import nn

    if replaced:  # as torch.compile does for the rest of the process
        original = nn.Module.__init__
        monkeypatch.setattr(nn.Module, "__init__", lambda self, *args, **kwargs: original(self, *args, **kwargs))

    class Bare(nn.Module):
        """Takes what Module takes: nothing."""

    assert read_arguments(Bare) == []
    with pytest.raises(RecipeError, match="It takes none"):
        check_arguments(Bare, {"dim": 1}, what="fusion 'bare'", where=Location("model.fusion"))


def test_a_constructor_that_takes_anything_is_given_anything():
    class Open:
        def __init__(self, *, size: int, **more):
            pass

    assert check_arguments(Open, {"size": 1, "other": "x"}, what="x", where=Location()) == {"size": 1, "other": "x"}


def test_annotations_written_as_text_are_understood():
    class Quoted:
        def __init__(self, *, size: "int", odd: "OnlyForTypeCheckers" = None):  # noqa: F821
            pass

    class Elsewhere:
        def __init__(self, *, size: "int", odd: "Path.NotInThisVersion | None" = None):
            pass

    class Plain:
        def __init__(self, *, size: "int"):
            pass

    for cls in (Quoted, Elsewhere):
        assert check_arguments(cls, {"size": 1, "odd": 3}, what="x", where=Location()) == {"size": 1, "odd": 3}
    with pytest.raises(RecipeError, match="a whole number is needed"):
        check_arguments(Plain, {"size": "1"}, what="x", where=Location())


def test_an_argument_says_what_is_wrong_with_its_annotation_or_its_default():
    class Odd:
        def __init__(
            self,
            *,
            size: "Chanels" = 4,  # noqa: F821
            hop=160,
            low: int = "4",
            bands: list[int] = (1, 2),
            file: Path | None = Path("a"),
            high: float = 1,
            needed: int,
        ):
            pass

    found = {argument.name: argument.problem for argument in read_arguments(Odd) if argument.problem}
    assert found == {
        "size": "annotation 'Chanels' of 'size' cannot be resolved",
        "hop": "constructor argument 'hop' has no annotation",
        "low": "default of 'low': '4' is text; a whole number is needed.",
    }
    assert read_arguments(Odd)[0].type == "Chanels"


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (3, int, 3),
        (3, float, 3.0),
        (True, bool, True),
        (None, int | None, None),
        (3, float | None, 3.0),
        (3, int | float, 3),
        ("sum", Literal["mean", "sum"], "sum"),
        ([1, 2], list[int], [1, 2]),
        ([1, 2], tuple[int, int], (1, 2)),
        ([1, 2], tuple[float, ...], (1.0, 2.0)),
        ("balanced", Literal["balanced"] | list[float], "balanced"),
        ([1], Literal["balanced"] | list[float], [1.0]),
        ({"a": 1}, dict[str, float], {"a": 1.0}),
        ({"a": 1}, dict, {"a": 1}),
        ("x/y", Path, Path("x/y")),
        ("x", str | Path, "x"),
        ({"any": [1]}, Any, {"any": [1]}),
        (5, complex, 5),
    ],
)
def test_a_value_that_fits_becomes_what_is_wanted(value, annotation, expected):
    result = check_value(value, annotation)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("value", "annotation", "message"),
    [
        ("3", int, "'3' is text; a whole number is needed."),
        (3.0, int, "3.0 is a number; a whole number is needed."),
        (True, int, "true is a truth value; a whole number is needed."),
        (False, float, "false is a truth value; a number is needed."),
        (1, bool, "1 is a whole number; true or false is needed."),
        (1, str, "1 is a whole number; text is needed."),
        (None, int, "null is given; a whole number is needed."),
        ("x", int | None, "'x' is text; a whole number or null is needed."),
        ("sm", Literal["mean", "sum"], "'sm' is not one of 'mean', 'sum'. Did you mean 'sum'?"),
        (True, Literal[1], "true is not 1."),
        ([1, "2"], list[int], "value 2 of the list: '2' is text; a whole number is needed."),
        ("abc", list[str], "'abc' is text; a list is needed."),
        ([1, 2, 3], tuple[int, int], "[1, 2, 3] holds 3 values; 2 are needed."),
        ({"path": "file", "start": None}, dict[str, str] | None, "start: null is given; text is needed."),
        (["a"], Literal["balanced"] | list[float], "value 1 of the list: 'a' is text; a number is needed."),
        ({"a": "b"}, dict[str, int], "a: 'b' is text; a whole number is needed."),
        ([], dict, "[] is a list; a mapping is needed."),
        (2**63, float, "9223372036854775808 is too large a number."),
    ],
)
def test_a_value_that_does_not_fit_is_shown_with_what_is_needed(value, annotation, message):
    with pytest.raises(Mismatch) as error:
        check_value(value, annotation)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int | None, "int | None"),
        (list[int], "list[int]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (dict[str, float], "dict[str, float]"),
        (Literal["a", "b"] | None, "'a' | 'b' | None"),
        (Path, "Path"),
        (Any, "Any"),
    ],
)
def test_types_are_written_as_in_source(annotation, text):
    assert type_text(annotation) == text


def test_arguments_are_completed_with_defaults_that_yaml_can_express():
    class Pitch:
        def __init__(self, *, rate: int = 8, low: float = 50.0, bands: list[int] = (1, 2), unit: type = float):
            pass

    assert resolved_arguments(Pitch, {"low": 60.0}, context=("rate",)) == {"low": 60.0, "bands": [1, 2]}


def test_a_renamed_argument_is_read_under_its_old_name():
    class Scaled:
        renamed: Mapping[str, str] = {"normalise": "layer_norm"}

        def __init__(self, *, layer_norm: bool): ...

    old, where = {"normalise": True}, Location("model.fusion")
    assert check_arguments(Scaled, old, what="fusion 'scaled'", where=where) == {"layer_norm": True}
    assert resolved_arguments(Scaled, old) == {"layer_norm": True}


def test_a_retired_argument_is_refused_with_what_to_write_instead():
    class Masked:
        """Masks.

        Args:
            size: of frames.
        """

        retired: Mapping[str, str] = {"noise": "`augmentations`"}

        def __init__(self, *, size: int = 1): ...

    with pytest.raises(RecipeError, match="does not take 'noise' any more: write `augmentations`"):
        check_arguments(Masked, {"noise": 0.1}, what="extractor 'masked'", where=Location("model.levels.x"))
