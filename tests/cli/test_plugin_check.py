"""`toolkit check-plugin`: what does not hold is shown with its input; a user's mistake is one line."""

import json

import pytest
from broken_extractors import GoodExtractor
from click.testing import CliRunner
from torch.nn import functional

from toolkit import PluginSpec
from toolkit.cli.main import main
from toolkit.contracts import Loss
from toolkit.plugins import registry
from toolkit.plugins.declarations import Declaration
from toolkit.plugins.kinds import KINDS
from toolkit.plugins.registry import Registry
from toolkit.testing import case_class

PROPERTIES = case_class("extractor").properties()


class Particular(GoodExtractor):
    """Needs an argument, refuses some values of it, and talks.

    Args:
        low: lower bound.
    """

    def __init__(self, *, low: float):
        print("Particular is here")
        if low < 0:
            raise ValueError(f"low is {low}; it has to be at least 0")
        if low > 1000:
            raise KeyError("lost")
        super().__init__()


class Quits(GoodExtractor):
    """Ends the program when it is asked for features."""

    def __init__(self):
        super().__init__()

    def features(self, wave):
        raise SystemExit("enough")


class ThreeClasses(Loss):
    """Knows three classes."""

    def __init__(self, *, classes: int):
        super().__init__()
        if classes != 3:
            raise ValueError(f"there are {classes} classes, not 3")

    def forward(self, inputs, targets):
        return functional.cross_entropy(inputs, targets)


CORPORA = '''
from broken_corpora import GoodCorpus

class FromEnvironment(GoodCorpus):
    """Knows where its data is."""

    environment = "PLUGIN_CHECK_ROOT"

    def __init__(self):
        super().__init__()

class Moody(FromEnvironment):
    """Cannot read, and not because of the folder."""

    def read(self, folder):
        raise ZeroDivisionError("today is not my day")
'''
TARGETS = {
    ("extractor", "good"): "broken_extractors:GoodExtractor",
    ("extractor", "leaky"): "broken_extractors:ReadsWholeFeatures",
    ("extractor", "particular"): "test_plugin_check:Particular",
    ("extractor", "quits"): "test_plugin_check:Quits",
    ("loss", "three"): "test_plugin_check:ThreeClasses",
    ("corpus", "files"): "broken_corpora:GoodCorpus",
    ("corpus", "placed"): "corpora_to_check:FromEnvironment",
    ("corpus", "moody"): "corpora_to_check:Moody",
}


@pytest.fixture(scope="module", autouse=True)
def corpora(tmp_path_factory):
    """A module that imports no torch, as this one does."""
    folder = tmp_path_factory.mktemp("corpora")
    (folder / "corpora_to_check.py").write_text(CORPORA)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield


@pytest.fixture(autouse=True)
def some_dist(monkeypatch):
    """Only these plugins are installed."""
    specs = [PluginSpec(kind, name, target, "Made for a test") for (kind, name), target in TARGETS.items()]
    found = Registry([(Declaration("some-dist", "2.0", "plugins", "some_dist"), specs)])
    monkeypatch.setattr(registry, "default_registry", lambda: found)
    monkeypatch.delenv("PLUGIN_CHECK_ROOT", raising=False)


def check(*words):
    return CliRunner().invoke(main, ["check-plugin", *map(str, words)], catch_exceptions=False)


def test_a_plugin_that_keeps_its_contract_has_exit_code_0_and_a_row_for_each_property():
    result = check("good", "--args", "{hop: 80}")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0].strip() == "extractor good from some-dist 2.0 with hop=80"
    assert lines[-1] == f"All {len(PROPERTIES)} hold."
    for each in PROPERTIES:
        assert any(line.split()[:2] == ["yes", each.__name__] for line in lines)


def test_what_does_not_hold_is_shown_with_its_input_and_exit_code_1():
    result = check("extractor", "leaky")
    assert result.exit_code == 1
    text = " ".join(result.output.split())
    assert "NO garbage_changes_nothing What lies beyond the lengths changes nothing" in text
    assert "found: nan beyond lengths [100, 62, 25, 2, 1] of the features changes encode's output" in text
    assert "yes state_survives_safetensors" in text
    broken = len(PROPERTIES) - text.count("yes ")
    assert text.endswith(f"{broken} of {len(PROPERTIES)} properties do not hold.") and broken > 1


def test_json_says_the_same():
    result = check("leaky", "--json")
    answer = json.loads(result.stdout)
    assert result.exit_code == 1 and answer["holds"] is False
    assert {key: answer[key] for key in ("kind", "name", "distribution", "version", "args")} == {
        "kind": "extractor",
        "name": "leaky",
        "distribution": "some-dist",
        "version": "2.0",
        "args": {},
    }
    (finding,) = [found for found in answer["properties"] if found["property"] == "batch_equals_alone"]
    assert finding["holds"] is False and "row 1 of a batch of lengths [[16000, 10007" in finding["detail"]
    assert finding["asks"] == "A row has the same result in a batch as alone, without padding."


def test_what_a_plugin_prints_does_not_get_into_the_answer():
    result = check("particular", "--args", "{low: 3}", "--json")
    assert json.loads(result.stdout)["holds"] is True
    assert "Particular is here" in result.stderr


def test_a_plugin_that_exits_is_a_finding():
    result = check("quits", "--json")
    found = {f["property"]: f for f in json.loads(result.stdout)["properties"]}
    line = Quits.features.__code__.co_firstlineno + 1
    assert found["shapes_are_as_declared"]["detail"] == f"SystemExit: enough ({__file__}, line {line})"
    assert found["arguments_are_documented"]["holds"] is True
    assert found["input_is_left_alone"]["holds"] is None


def test_what_was_not_tried_is_counted():
    result = check("quits")
    text = " ".join(result.output.split())
    assert text.endswith(
        f"1 of {len(PROPERTIES)} properties does not hold. {len(PROPERTIES) - 3} were not tried: fix this first."
    )
    assert "input_is_left_alone" not in text


def test_traceback_shows_where_the_first_error_was_raised():
    assert not check("quits").stderr
    result = check("quits", "--traceback")
    assert result.exit_code == 1 and f"1 of {len(PROPERTIES)} properties does not hold." in result.stdout
    assert 'raise SystemExit("enough")' in result.stderr and result.stderr.endswith("SystemExit: enough\n")


def test_what_the_system_gives_can_be_set():
    result = check("three", "--context", "{classes: 3}")
    assert result.exit_code == 0, result.output
    assert "there are 4 classes, not 3" in check("three").stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["particular"],
            "args: extractor 'particular' needs the argument 'low' (float). The system gives sample_rate and segment_",
        ),
        (["particular", "--args", "{lo: 3}"], "no argument 'lo'. Did you mean 'low'? It takes: low."),
        (["particular", "--args", "{low: high}"], "args.low: 'high' is text; a number is needed."),
        (
            ["particular", "--args", "{low: -1}"],
            "args.low: extractor 'particular': low is -1.0; it has to be at least 0",
        ),
        (["particular", "--args", "{low: 2000}"], "from some-dist 2.0 cannot be built: KeyError: 'lost'"),
        (["particular", "--args", "low"], "'--args': a mapping is needed, for example '{hidden: 8}', not 'low'."),
        (["particular", "--args", "{low: "], "on the command line:"),
        (["good", "--args", "{sample_rate: 8000}"], "'sample_rate' is given to extractor 'good' by the system"),
        (["three", "--context", "{clases: 3}"], "--context.clases: unknown key. Did you mean 'classes'?"),
        (["three", "--context", "{classes: many}"], "--context.classes: 'many' is text; a whole number is needed."),
        (["three", "--context", "3"], "'--context': a mapping is needed"),
        (["god"], "No plugin is called 'god'. Did you mean 'good'?"),
        (["extracto", "good"], "No kind of plugin is called 'extracto'. Did you mean 'extractor'?"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(words, message):
    result = check(*words)
    assert result.exit_code == 2
    (line,) = [line for line in result.stderr.splitlines() if line != "Particular is here"]
    assert message in line and not result.stdout


def test_a_corpus_is_checked_on_its_data_folder_or_what_its_variable_names(tmp_path, monkeypatch):
    assert check("files", "--data_folder", tmp_path).exit_code == 0
    monkeypatch.setenv("PLUGIN_CHECK_ROOT", str(tmp_path))
    assert check("corpus", "placed").exit_code == 0
    monkeypatch.setenv("PLUGIN_CHECK_ROOT", str(tmp_path / "elsewhere"))
    result = check("corpus", "placed")
    assert result.exit_code == 1 and "elsewhere is not a folder" in "".join(result.stdout.split("\n"))


def test_a_corpus_that_breaks_is_a_finding(tmp_path):
    result = check("moody", "--data_folder", tmp_path, "--json")
    found = {f["property"]: f["detail"] for f in json.loads(result.stdout)["properties"] if not f["holds"]}
    assert result.exit_code == 1
    assert found["read_lists_utterances"].startswith("ZeroDivisionError: today is not my day (")
    assert found["reads_are_equal"] == "not tried, since read_lists_utterances does not hold"


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_system_gives_is_given_and_every_property_says_what_it_asks(kind):
    case = case_class(kind)(make=None)
    assert tuple(case.context()) == KINDS[kind].context
    assert all(each.__doc__.endswith(".") for each in case.properties())
