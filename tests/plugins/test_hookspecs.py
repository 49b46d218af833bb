import pytest

from toolkit.hookspecs import PluginSpec

GOOD = {"kind": "extractor", "name": "pitch", "target": "my_package.pitch:Pitch", "summary": "F0 contour"}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("kind", "", "kind '' of plugin 'pitch' is not a word"),
        ("name", "Pitch", "lower case"),
        ("name", "a:b", "lower case"),
        ("name", "", "lower case"),
        ("target", "my_package.pitch", "package.module:Class"),
        ("target", "my_package:Pitch.inner", "package.module:Class"),
        ("summary", "", "one line"),
        ("summary", "two\nlines", "one line"),
        ("summary", 3, "summary 3 of plugin 'pitch' is not one line"),
        ("name", None, "name None of plugin None is not made of lower case letters"),
        ("contract", None, "contract None of plugin 'pitch' is not a range of versions, for example '>=1,<2'"),
    ],
)
def test_a_field_of_the_wrong_form_is_refused_by_name(field, value, message):
    with pytest.raises(ValueError, match=message):
        PluginSpec(**{**GOOD, field: value})
