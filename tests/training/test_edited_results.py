"""A file of a run that was edited is refused in one line that names the file and the key."""

import json
import re

import pytest

from toolkit.errors import CheckpointError
from toolkit.recipe.training import TrainingSpec
from toolkit.training.loop.history import History
from toolkit.training.run_folder import OF_TEST, RESULT_TYPES, read_results

SHARES = {"wa": 0.5, "ua": 0.5, "macro_f1": 0.5, "seconds": 2}
COUNTS = {**dict.fromkeys(("seed", "epoch", "epochs", "parameters"), 1), "n_utterances": 4}
NAMES = dict.fromkeys(("system", "corpus", "protocol", "fold", "precision", "device", "hardware"), "x")
LABELS = {"labels": ["a", "b"], "confusion": [[1, 1], [1, 1]], "synthetic": False, "stamps": []}
RESULTS = SHARES | COUNTS | NAMES | LABELS | {"pretrained": {"mfcc": None}, "versions": {"torch": "2"}}
ROW = {"epoch": 1, "train_loss": 0.5, "valid_wa": 0.5, "valid_ua": 0.5, "seconds": 2.0}
STATE = {"rows": [ROW], "probe": None, "skipped_steps": 0, "seconds_before": 0.0, "threads": 1}


@pytest.mark.parametrize("key", RESULT_TYPES)
def test_results_of_another_type_or_without_a_key_are_refused(key, tmp_path):
    path = tmp_path / "results.json"
    for wrong in (None, 1e999, {"a": 7}, [[7]], ...):
        path.write_text(json.dumps({k: v for k, v in {**RESULTS, key: wrong}.items() if v is not ...}))
        with pytest.raises(CheckpointError, match=r"results\.json is damaged \(.*delete it"):
            read_results(path)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"ua": 5.0}, "ua: the confusion gives 0.5, not 5"),
        ({"wa": 0.75}, "wa: the confusion gives 0.5, not 0.75"),
        ({"macro_f1": 0.25}, "macro_f1: the confusion gives 0.5, not 0.25"),
        ({"n_utterances": 400}, "n_utterances: the confusion gives 4, not 400"),
        ({"confusion": [[2, 0], [0, 2]]}, "wa: the confusion gives 1, not 0.5"),
        ({"confusion": []}, "confusion: "),
        ({"labels": ["a"]}, "confusion: "),
    ],
)
def test_results_whose_metrics_are_not_those_of_their_confusion_are_refused(changed, named, tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(RESULTS | changed))
    with pytest.raises(CheckpointError, match=re.escape(f"is damaged ({named}")):
        read_results(path)


def test_results_without_a_test_are_read_only_as_those_of_a_trial(tmp_path):
    path, results = tmp_path / "results.json", {k: v for k, v in RESULTS.items() if k not in OF_TEST}
    path.write_text(json.dumps({**results, "tested": False}))
    assert read_results(path, trials=True) == {**results, "tested": False}
    with pytest.raises(CheckpointError, match=r"results\.json is damaged \(.*delete it"):
        read_results(path)


def test_results_may_hold_more(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps({**RESULTS, "other": None}))
    assert read_results(tmp_path / "results.json") == {**RESULTS, "other": None}


@pytest.mark.parametrize(
    "state",
    [
        *({**STATE, key: wrong} for key in ("rows", "probe") for wrong in ("x", [7], {"x": []})),
        *({key: value for key, value in STATE.items() if key != left_out} for left_out in STATE),
        *({**STATE, "rows": [{k: v for k, v in ROW.items() if k != left_out}]} for left_out in ROW),
        *({**STATE, "rows": [{**ROW, key: None}]} for key in ROW if key != "train_loss"),
        *({**STATE, "rows": rows} for rows in ([], [ROW, ROW], [ROW, {"epoch": 2}])),
    ],
)
def test_a_history_that_cannot_be_continued_is_refused(state, tmp_path):
    (tmp_path / "history.json").write_text(json.dumps(state))
    with pytest.raises(CheckpointError, match=r"history\.json is damaged \(.*delete the run's folder"):
        History(["valid"], TrainingSpec()).load(tmp_path / "history.json")


def test_a_whole_history_is_continued(tmp_path):
    (tmp_path / "history.json").write_text(json.dumps(STATE))
    history = History(["valid"], TrainingSpec())
    history.load(tmp_path / "history.json")
    assert history.state_dict() == STATE
