from dataclasses import replace

import numpy as np
import pytest
import sklearn.metrics as oracle
from fake_experiment import LABELS, SER, TEN, FakeExperiment, FakeSystem, paper_experiment, predictions

from toolkit.report.evidence import Evidence
from toolkit.report.page import sections, shown_pair
from toolkit.report.tables.accuracy import duration_table, gender_table, speaker_tables
from toolkit.report.tables.answers import SHOWN, abstention_table, calibration_table, hard_utterance_table
from toolkit.report.tables.differences import covariate_families, covariate_table
from toolkit.report.tables.provenance import run_table, systems_table
from toolkit.statistics.confidence import (
    RULES,
    at_temperature,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
)
from toolkit.training.predictions import read_answers


def evidence(folder, experiment):
    return Evidence(experiment.write(folder))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    systems = {"ser": SER, "mf": FakeSystem(covariates={"gender": {"source": "label"}})}
    return evidence(tmp_path_factory.mktemp("found"), FakeExperiment(systems, seeds=(1, 2)))


def scores(found, system, keep):
    """n, WA and UA of the rows to keep, the mean over both seeds."""
    values = []
    for seed in (1, 2):
        runs = [run for run in found.runs_of[system, "loso"].runs if run.cell.seed == seed]
        rows = [row for run in runs for row in predictions(run) if keep(row)]
        args = ([r["reference"] for r in rows], [r["predicted"] for r in rows])
        values.append((len(rows), oracle.accuracy_score(*args), oracle.balanced_accuracy_score(*args)))
    return tuple(np.mean(values, axis=0))


def test_gender_has_the_accuracies_of_its_utterances(found):
    row = gender_table(found.tested("loso")).rows[1]
    assert (row["F_n"], row["F_wa"], row["F_ua"]) == pytest.approx(scores(found, "mf", lambda r: r["gender"] == "F"))
    assert row["M_ua"] == pytest.approx(scores(found, "mf", lambda r: r["gender"] == "M")[2])


def test_durations_are_cut_into_thirds_of_all_test_utterances(found):
    table = duration_table(found.tested("loso"))
    seconds = {
        row["id"]: float(row["seconds"]) for run in found.runs_of["ser", "loso"].runs for row in predictions(run)
    }
    low, high = np.quantile(list(seconds.values()), [1 / 3, 2 / 3])
    groups = [column.group for column in table.columns if column.group]
    assert groups[::3] == [f"up to {low:.2f} s", f"{low:.2f} to {high:.2f} s", f"over {high:.2f} s"]
    row = table.rows[0]
    expected = scores(found, "ser", lambda r: low < float(r["seconds"]) <= high)
    assert (row["middle_n"], row["middle_wa"], row["middle_ua"]) == pytest.approx(expected)
    assert row["short_n"] + row["middle_n"] + row["long_n"] == len(seconds)


@pytest.mark.parametrize("longer", [0, 5])
def test_utterances_of_one_duration_stay_together(tmp_path, longer):
    found = evidence(tmp_path, FakeExperiment({"ser": SER}, folds={"1M": ("1M",)}))
    seconds = found.runs[0].answers.seconds
    seconds[:], seconds[:longer] = 3.0, 4.0
    table = duration_table(found.tested("loso"))
    counts = {key: n for key, n in table.rows[0].items() if key.endswith("_n")} if table else {}
    assert counts == ({"short_n": len(seconds) - longer, "long_n": longer} if longer else {})


def test_speakers_are_in_the_corpus_order_with_their_own_accuracies(found):
    wa, ua = speaker_tables(found.tested("loso"))
    assert [row["speaker"] for row in wa.rows] == list(TEN)
    expected = scores(found, "mf", lambda r: r["speaker"] == TEN[3])
    assert (wa.rows[3]["n"], wa.rows[3]["wa_mf"], ua.rows[3]["ua_mf"]) == pytest.approx(expected)


def test_unknown_genders_and_speakers_give_no_table(tmp_path):
    folds = {"1": ("1M", "1F")}
    found = evidence(tmp_path, FakeExperiment({"ser": SER}, folds=folds, named=False, genders=False))
    assert gender_table(found.tested("loso")) is None and speaker_tables(found.tested("loso")) == []


def test_calibration_is_that_of_all_answers(found):
    row = calibration_table(found.tested("loso")).rows[0]
    rows = [row for run in found.runs_of["ser", "loso"].runs for row in predictions(run)]
    probabilities = np.array([[float(r[f"p_{label}"]) for label in LABELS] for r in rows])
    confidence = probabilities.max(axis=1)
    right = np.array([r["predicted"] == r["reference"] for r in rows])
    places = np.minimum(np.ceil(confidence * 15).astype(int), 15)  # bins (0, 1/15], (1/15, 2/15], ...
    error = sum(abs(right[places == b].sum() - confidence[places == b].sum()) for b in range(16)) / len(rows)
    assert row["ece"] == pytest.approx(error) and row["answers"] == len(rows)
    assert row["wa"] == pytest.approx(right.mean()) and row["confidence"] == pytest.approx(confidence.mean())


def test_each_runs_temperature_and_thresholds_are_those_of_its_validation_part(found):
    tested = found.runs_of["ser", "loso"]
    after, answered, wrong = [], [], []
    for run in tested.runs:
        valid, test = (read_answers(run.folder, LABELS, file) for file in ("validation.csv", "predictions.csv"))
        temperature = fit_temperature(valid.probabilities, valid.reference, labels=LABELS)
        after.append(at_temperature(test.probabilities, temperature))
        confidence = np.sort(at_temperature(valid.probabilities, temperature).max(axis=1))[::-1]
        enough = -(-80 * len(confidence) // 100)
        answered.append(after[-1].max(axis=1) >= confidence[enough - 1 : enough + 1].mean())
        wrong.append(answered[-1] & (test.predicted != test.reference))
    after, answered, wrong = map(np.concatenate, (after, answered, wrong))
    row = calibration_table(found.tested("loso")).rows[0]
    assert row["nll_after"] == pytest.approx(negative_log_likelihood(after, tested.answers.reference, labels=LABELS))
    assert row["ece_after"] == pytest.approx(expected_calibration_error(after, tested.answers.reference, labels=LABELS))
    rows = {row["rule"]: row for row in abstention_table(found.tested("loso")).rows if row["system"] == "ser"}
    assert list(rows) == list(RULES)
    shares = rows["coverage:0.8"]["coverage"], rows["coverage:0.8"]["error"]
    assert shares == pytest.approx((answered.mean(), wrong.sum() / answered.sum()))
    assert rows["coverage:0.8"]["runs"] == (len(tested.runs),) * 2
    assert rows["error:0.1"]["runs"] == (0, len(tested.runs)) and rows["error:0.1"]["error"] is None  # of one speaker


def test_without_predictions_for_validation_parts_there_is_nothing_at_a_temperature(tmp_path):
    found = evidence(tmp_path, FakeExperiment({"ser": SER}, protocols=("loso-as-published",)))
    row = calibration_table(found.tested("loso-as-published")).rows[0]
    assert row["ece"] > 0 and row["ece_after"] is None and row["nll_after"] is None
    assert abstention_table(found.tested("loso-as-published")) is None


def test_systems_that_differ_in_a_covariate_alone_are_families(tmp_path):
    found = evidence(tmp_path, paper_experiment(folds={s: (s,) for s in TEN[:6]}, utterances=8))
    assert covariate_families(found, "gender") == [
        {"ser": "without", "mf": "label", "mf_predicted": "predicted", "mf_shuffled": "shuffled"},
        {"mtl": "without", "mf_mtl": "label"},
        {"cr": "without", "mf_cr": "label"},
        {"mtl_cr": "without", "mf_mtl_cr": "label"},
    ]
    table = covariate_table(found, "gender", "loso")
    assert [(row["system"], row["source"], row["against"]) for row in table.rows[:2]] == [
        ("ser", "without", None), ("mf", "label", "ser")
    ]  # fmt: skip
    last = table.rows[4]  # the first family has a label and its control, which are compared with each other
    assert (last["system"], last["against"]) == ("mf", "mf_shuffled")
    assert last["ua_difference"] == pytest.approx(table.rows[1]["ua"] - table.rows[3]["ua"])
    row = table.rows[1]
    assert row["ua_difference"] == pytest.approx(row["ua"] - table.rows[0]["ua"])
    assert all(row["ua_p"] == 1.0 for row in table.rows if row["against"]), "fourteen comparisons of six speakers"


def test_a_label_and_its_control_alone_are_compared_once(tmp_path):
    systems = {
        "given": FakeSystem(covariates={"gender": {"source": "label"}}, skill=9.0),
        "control": FakeSystem(covariates={"gender": {"source": "shuffled"}}, skill=0.0),
    }
    table = covariate_table(
        evidence(tmp_path, FakeExperiment(systems, folds={s: (s,) for s in TEN[:7]})), "gender", "loso"
    )
    first, second = table.rows
    assert (first["against"], second["against"]) == (None, "given")
    assert second["ua_p"] == 2 * 2 / 2**7 and second["ua_verdict"] == "worse", "seven speakers, two metrics"


def test_no_pair_of_systems_that_differ_in_the_covariate_alone_gives_no_table(tmp_path):
    systems = {"ser": SER, "mf": FakeSystem(covariates={"age": {"source": "label"}}, heads=("emotion", "mfcc"))}
    found = evidence(tmp_path, FakeExperiment(systems, folds={"1M": ("1M",)}))
    assert covariate_table(found, "age", "loso") is None


def always_wrong_on(numbers):
    """Answers with the class after the true one for these utterances of each speaker, else with the true one."""

    def answer(cell, reference):
        offset = np.isin(np.arange(len(reference)), list(numbers)).astype(int)
        # The later an utterance, the surer the answer.
        return np.eye(4)[(reference + offset) % 4] * (1 + np.arange(len(reference)))[:, None]

    return answer


def test_utterances_that_all_get_wrong_are_listed_the_surest_errors_first(tmp_path):
    systems = {"ser": SER, "w2e": FakeSystem(levels=("wav2vec2",))}
    found = evidence(
        tmp_path,
        FakeExperiment(systems, folds={"1M": ("1M",)}, seeds=(1, 2), answer=always_wrong_on({2, 5})),
    )
    table = hard_utterance_table(found.tested("loso"))
    assert [row["id"] for row in table.rows] == ["1M_005", "1M_002"]
    row = table.rows[0]
    (original,) = [r for r in predictions(found.runs[0]) if r["id"] == "1M_005"]
    assert row["said_ser"] == row["said_w2e"] == original["predicted"] != row["reference"] == original["reference"]
    assert row["given"] == pytest.approx(float(original[f"p_{row['reference']}"]))


def test_an_utterance_that_one_seed_of_one_system_gets_right_is_not_hard(tmp_path):
    def answer(cell, reference):
        wrong = {0} if (cell.system, cell.seed) == ("w2e", 2) else {0, 1}
        return always_wrong_on(wrong)(cell, reference)

    systems = {"ser": SER, "w2e": FakeSystem(levels=("wav2vec2",))}
    experiment = FakeExperiment(systems, folds={"1M": ("1M",)}, seeds=(1, 2), answer=answer)
    assert [row["id"] for row in hard_utterance_table(evidence(tmp_path, experiment).tested("loso")).rows] == ["1M_000"]


def test_an_utterance_that_a_system_was_not_tested_on_is_not_listed(tmp_path):
    systems = {"ser": SER, "w2e": FakeSystem(levels=("wav2vec2",))}
    experiment = FakeExperiment(
        systems,
        folds={"1M": ("1M",), "1F": ("1F",)},
        answer=always_wrong_on({0}),
        left=lambda system, protocol, fold, seed: (system, fold) == ("w2e", "1F"),
    )
    table = hard_utterance_table(evidence(tmp_path, experiment).tested("loso"))
    assert [row["id"] for row in table.rows] == ["1M_000"]
    assert table.notes[0].startswith(f"1 of the {len(experiment.speaker_utterances('1M'))} utterances")


def test_fifty_hard_utterances_are_shown_and_a_note_has_their_number(tmp_path):
    experiment = FakeExperiment(
        {"ser": SER}, folds={s: (s,) for s in TEN[:3]}, answer=always_wrong_on(range(99)), utterances=30
    )
    table = hard_utterance_table(evidence(tmp_path, experiment).tested("loso"))
    assert len(table.rows) > SHOWN == len(table.shown_rows) == 50
    assert f"{len(table.rows)} of the {len(table.rows)} utterances" in table.notes[0] and "50 of them" in table.notes[0]


def test_what_was_run_names_weights_hardware_and_each_training_once(tmp_path):
    systems = {"ser": SER, "w2e": FakeSystem(levels=("wav2vec2",))}
    protocols = ("loso", "loso-test-epoch", "loso-as-published")
    found = evidence(tmp_path, FakeExperiment(systems, protocols=protocols, folds={"1M": ("1M",), "1F": ("1F",)}))
    said = {row["fact"]: row["value"] for row in run_table(found).rows}
    assert said["Training time"] == "12 min 0 s in 8 trainings"  # of 90 s; two protocols share
    assert said["Cells"] == "12 of 12 done" and said["Hardware"] == "a processor, 8 cores, fp32"
    assert said["Folds"] == "; ".join(f"2 of {protocol} (1M, 1F)" for protocol in protocols)
    row = systems_table(found).rows[0]
    assert row["levels"] == "spectrogram, mfcc, wav2vec2 (facebook/wav2vec2-base-960h)"
    assert row["epoch"] == 5 and row["parameters"] == 3_000_000


def test_what_each_system_changes_against_the_baseline_stands_below_the_systems(tmp_path):
    systems = {
        "ser": SER,
        "mf": FakeSystem(covariates={"gender": {"source": "label"}}),
        "same": replace(SER, skill=0.5),
        "other": FakeSystem(levels=[f"l{number}" for number in range(8)]),
    }
    folder = FakeExperiment(systems, folds={"1M": ("1M",)}, left=lambda *key: True).write(tmp_path)
    assert systems_table(Evidence(folder)).notes == [
        "mf differs from ser in: model.covariates.gender.",
        "same has the same settings as ser.",
        f"other differs from ser in: {', '.join(f'model.levels.{level}' for level in FakeSystem().levels)}, "
        f"{', '.join(f'model.levels.l{number}' for number in range(7))}, ... (11 in all).",
    ]
    assert systems_table(Evidence(folder, "mf")).notes[0] == "ser differs from mf in: model.covariates.gender."


def test_one_system_is_reported_without_comparisons(tmp_path):
    found = evidence(tmp_path, FakeExperiment({"mfcc": FakeSystem(levels=("mfcc",))}, folds={"1M": ("1M",)}))
    assert [system.name for system in shown_pair(found, "loso")] == ["mfcc"]
    names = [item.name for items in sections(found, "loso").values() for item in items]
    assert "all_systems" in names and not [name for name in names if "differences" in name]
