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
        ("summary", 3, "summary 3 of plugin 'pitch' is no text"),
        ("name", None, "name None of plugin None is no text"),
        ("contract", "1", "contract of plugin 'pitch': '1' is no range of whole numbers, such as '>=1,<2'"),
        ("contract", ">=1 <2", "is no range"),
        ("contract", ">=1.5", "is no range"),
        ("contract", ">=1,", "is no range"),
    ],
)
def test_a_field_of_the_wrong_form_is_refused_by_name(field, value, message):
    with pytest.raises(ValueError, match=message):
        PluginSpec(**{**GOOD, field: value})


@pytest.mark.parametrize(
    ("contract", "allowed"),
    [
        ("", [0, 1, 2, 3]),
        (">=1,<2", [1]),
        (">0, <= 2", [1, 2]),
        ("==3", [3]),
        (">=2,<1", []),
    ],
)
def test_a_contract_is_a_range_of_versions(contract, allowed):
    spec = PluginSpec(**GOOD, contract=contract)
    assert [version for version in range(4) if spec.allows(version)] == allowed
