import pytest

from toolkit.hookspecs import KINDS, PluginSpec

GOOD = {"kind": "extractor", "name": "pitch", "target": "my_package.pitch:Pitch", "summary": "F0 contour"}


def test_a_spec_knows_its_module_and_its_class():
    spec = PluginSpec(**GOOD)
    assert (spec.module, spec.attribute) == ("my_package.pitch", "Pitch")


def test_there_are_five_kinds():
    assert KINDS == ("extractor", "fusion", "head", "loss", "corpus")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("kind", "extracto", "kind 'extracto'"),
        ("name", "Pitch", "lower case"),
        ("name", "a:b", "lower case"),
        ("name", "", "lower case"),
        ("target", "my_package.pitch", "package.module:Class"),
        ("target", "my_package:Pitch.inner", "package.module:Class"),
        ("summary", "", "one line"),
        ("summary", "two\nlines", "one line"),
    ],
)
def test_a_field_of_the_wrong_form_is_refused_by_name(field, value, message):
    with pytest.raises(ValueError, match=message):
        PluginSpec(**{**GOOD, field: value})
