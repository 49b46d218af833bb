"""Which epoch a rule picks, and that a training goes on until every rule has run out of patience."""

import pytest

from toolkit.recipe.training import TrainingSpec
from toolkit.training.loop.checkpoints import load_state, save_state
from toolkit.training.loop.history import History, Selection


def row(valid: float, test: float) -> dict:
    return {"valid_wa": valid, "valid_ua": 0.0, "test_wa": test, "test_ua": 0.0}


@pytest.mark.parametrize(
    ("scores", "patience", "min_epochs", "selected"),
    [
        ([], 5, 0, (0, False)),
        ([0.2, 0.9, 0.9], 5, 0, (2, False)),
        ([0.5, 0.7, 0.6, 0.6, 0.9], 2, 0, (2, True)),
        ([0.5, 0.7, 0.6, 0.6, 0.9], 3, 0, (5, False)),
        ([0.5, 0.7, 0.6, 0.6, 0.9], 2, 4, (5, False)),
        ([0.5, 0.7, 0.6, 0.6, 0.9], None, 0, (5, False)),
    ],
)
def test_the_first_of_the_best_epochs_before_patience_runs_out_is_picked(scores, patience, min_epochs, selected):
    history = History(("valid",), TrainingSpec(patience=patience, min_epochs=min_epochs))
    history.rows = [row(score, 0.1) for score in scores]
    assert history.selection("valid") == Selection(*selected)


def test_a_better_epoch_after_the_stop_does_not_count():
    history = History(("valid", "test"), TrainingSpec(patience=2, min_epochs=0))
    # the validation rule stops at epoch 3 with epoch 1; the test rule still improves until epoch 4
    history.rows = [row(0.9, 0.1), row(0.5, 0.2), row(0.5, 0.3), row(1.0, 0.4)]
    assert history.selection("valid") == Selection(1, True)
    assert history.selection("test") == Selection(4, False)
    assert not history.finished
    history.rows += [row(0, 0), row(0, 0)]
    assert history.finished


def test_a_rule_that_is_not_asked_for_does_not_hold_up_the_stop():
    history = History(("valid",), TrainingSpec(patience=1, min_epochs=0))
    history.rows = [row(0.9, 0.1), row(0.5, 0.2)]
    assert history.finished


def test_history_survives_a_checkpoint_exactly(tmp_path):
    history = History(("valid",), TrainingSpec(patience=1, min_epochs=0))
    history.rows, history.skipped_steps, history.seconds_before = [row(1 / 3, 0.1)], 2, 1.5
    save_state(history, tmp_path / "history")
    other = History(("valid",), TrainingSpec(patience=1, min_epochs=0))
    load_state(other, tmp_path / "history")
    assert (other.rows, other.skipped_steps, other.seconds_before) == (history.rows, 2, 1.5)
