"""A bug in another distribution's plugin is reported in one line; our own bugs keep their traceback."""

import re
import sys

import pytest
import torch
from click.testing import CliRunner

from toolkit import PluginSpec
from toolkit.cli.commands import Command
from toolkit.errors import FailedPlugin, PluginError, ShapeError
from toolkit.files import DISTRIBUTION
from toolkit.plugins.declarations import Declaration
from toolkit.plugins.plugin import plugin_failures
from toolkit.plugins.registry import Registry
from toolkit.recipe.checks import Location, Mark

SOURCE = """
from toolkit.contracts import Head
from toolkit.errors import ShapeError
from toolkit.model.pooling import mean_pooling

class Stubborn(Head):
    def forward(self, embedding):
        raise {what}

class Deaf(Head):
    def forward(self):
        return 0

class Misled(Head):
    def forward(self, embedding):
        return mean_pooling(embedding)

class Lazy(Head):
    pass

class Strange(BaseException):
    pass

class Odd(Head):
    def forward(self, embedding):
        raise Strange

class Wrapped(Head):
    def forward(self, embedding):
        return embedding @ embedding

class Borrowed(Head):
    forward = staticmethod(mean_pooling)
"""
LOCATION = Location("model.heads.emotion", Mark("ser.yaml", 7))
EMBEDDING = torch.ones(2, 3)


@pytest.fixture
def head(tmp_path, monkeypatch):
    """Build a head of a distribution from a class of a temporary module."""
    monkeypatch.syspath_prepend(tmp_path)

    def build(attribute, *, what="ValueError('no', 'way')", distribution="moody"):
        (tmp_path / "moody_heads.py").write_text(SOURCE.format(what=what))
        monkeypatch.delitem(sys.modules, "moody_heads", raising=False)
        spec = PluginSpec("head", "stubborn", f"moody_heads:{attribute}", "A throw-away head")
        registry = Registry([(Declaration(distribution, "1.0", "plugins", "moody"), [spec])])
        return registry.find("head", "stubborn", LOCATION).build()

    return build


def reported(head) -> str:
    with pytest.raises(FailedPlugin) as caught, plugin_failures():
        torch.nn.Sequential(head)(EMBEDDING)
    return str(caught.value)


def test_the_line_names_location_plugin_error_line_and_what_to_do(head, tmp_path):
    assert reported(head("Stubborn")) == (
        "model.heads.emotion in ser.yaml, line 7: head 'stubborn' from moody 1.0: `forward` raised ValueError: "
        "('no', 'way') "
        f"({tmp_path / 'moody_heads.py'}, line 8). `toolkit check-plugin head moody:stubborn` tries the plugin out."
    )


def test_a_library_below_it_is_not_named_but_the_plugins_own_line(head):
    assert re.search(r"raised RuntimeError: .*moody_heads.py, line 30\)", reported(head("Wrapped")))


def test_a_method_that_takes_something_else_is_refused_with_its_location(head):
    line = "model.heads.emotion in ser.yaml, line 7: head 'stubborn' from moody 1.0 cannot be used: `forward` cannot be"
    with pytest.raises(PluginError, match=rf"^{line} called with \(embedding\): too many positional arguments\.$"):
        head("Deaf")


def test_a_method_of_ours_in_a_plugin_is_named_by_the_plugins_class(head):
    assert re.search(r"`forward` raised AttributeError: .*\(moody_heads:Borrowed\)", reported(head("Borrowed")))


def test_an_error_in_our_code_that_a_plugin_called_is_the_plugins(head):
    assert re.search(r"`forward` raised AttributeError: .*moody_heads.py, line 16\)", reported(head("Misled")))


def test_a_method_that_is_missing_is_named(head):
    assert "head 'stubborn' from moody 1.0 has no `forward`, which its contract requires." in reported(head("Lazy"))


def test_a_base_exception_without_readable_text_is_one_line(head):
    assert "`forward` raised Strange (" in reported(head("Odd"))


def test_a_plugin_that_exits_is_named(head):
    assert "raised SystemExit: 3" in reported(head("Stubborn", what="SystemExit(3)"))


@pytest.mark.parametrize("debug", ["", "1"])
def test_a_command_prints_the_line_and_on_request_the_traceback(head, monkeypatch, debug):
    monkeypatch.setenv("TOOLKIT_DEBUG", debug)
    plugin = head("Stubborn")
    done = CliRunner().invoke(Command("use", callback=lambda: plugin(EMBEDDING)))
    if debug:
        assert isinstance(done.exception.__cause__, ValueError)
    else:
        assert done.exit_code == 2 and done.stderr.count("\n") == 1
        assert done.stderr.endswith("tries the plugin out. --traceback shows the whole traceback.\n")


@pytest.mark.parametrize(
    ("attribute", "options", "error"),
    [
        ("Stubborn", {"distribution": DISTRIBUTION}, ValueError),
        ("Stubborn", {"what": "ShapeError('a user can repair it')"}, ShapeError),
        ("Stubborn", {"what": "KeyboardInterrupt"}, KeyboardInterrupt),
    ],
    ids=["our own plugin", "one line already", "Ctrl-C"],
)
def test_other_errors_stay_as_they_are(head, attribute, options, error):
    plugin = head(attribute, **options)
    with pytest.raises(error) as caught, plugin_failures():
        plugin(EMBEDDING)
    assert type(caught.value) is error
