"""Text of users, corpora, plugins and bundles is printed as it is, never obeyed."""

import time

import click
import pytest

from toolkit.cli.tables import print_counts, print_results
from toolkit.experiment.cells import CellProgress, Record
from toolkit.experiment.command import print_cells, show_live
from toolkit.experiment.plan import Cell
from toolkit.inference.predict.output import table_rows
from toolkit.inference.predict.predictions import Prediction
from toolkit.terminal import PlainConsole, doing, progress, say

HOSTILE = {"[laughter]": "[laughter]", "[/x]": "[/x]", ":smile:": ":smile:", "\x1b[31mred\x07": "?[31mred?"}


def results(name: str) -> dict:
    """What results.json says of a test."""
    shares = {"wa": 1.0, "ua": 1.0, "macro_f1": 1.0, "n_utterances": 2, "confusion": [[1, 0], [0, 1]]}
    where = {"system": "ser", "protocol": "loso", "seed": 1, "synthetic": False, "corpus": "manifest"}
    return {**shares, **where, "fold": name, "labels": [name, "sad"], "stamps": [name]}


def cell(name: str) -> CellProgress:
    """A cell that failed, whose fold and error hold a name."""
    failed = Cell("ser", "loso", name, 1, "1a2b3c4d")
    return CellProgress(failed, "failed", Record(failed, "failed", 0.0, error=f"no {name}"), stamps=(name,))


def live(name: str) -> None:
    with PlainConsole(stderr=True).status("") as status:
        show_live(status, [cell(name)], [cell(name).cell])


@pytest.mark.parametrize(
    "printed",
    [
        lambda name: print_results(results(name)),
        lambda name: print_counts({name: {name: 1, "sad": 2}}),
        lambda name: print_cells([cell(name)]),
        live,
        lambda name: say(f"NOTE: {name}"),
    ],
)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_neither_markup_nor_a_terminals_escape(capsys, printed, name):
    printed(name)
    out = "".join(capsys.readouterr())
    assert HOSTILE[name] in out and "\x1b" not in out and "\x07" not in out


def test_the_table_of_predictions_holds_no_escape():
    head, row = table_rows(["\x1b[31mred", "sad"], "")
    prediction = Prediction({"\x1b[31mred": 0.75, "sad": 0.25}, start_s=0.0, end_s=1.0)
    text = head + row("a\x07.wav", "\x1b[31mred", prediction)
    assert "?[31mred" in text and "\x1b" not in text and "a?.wav" in text


def test_where_nobody_watches_a_silent_command_says_what_it_is_at(monkeypatch, capsys):
    monkeypatch.setattr("toolkit.terminal.EVERY_S", 0.2)
    with click.Context(click.Command("predict"), info_name="predict"):
        for letter in progress("abc", "labelling", total=3, shown=False):
            time.sleep(0.3 if letter == "b" else 0.0)
        say("a line")
        doing("writing")
    doing("nothing")
    assert capsys.readouterr().err == "predict: labelling 3 of 3 so far\na line\n"
