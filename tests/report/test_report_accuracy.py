from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import sklearn.metrics as oracle
from fake_experiment import LABELS, SER, TEN, FakeExperiment, FakeSystem, paper_experiment, predictions

from toolkit.report.evidence import Evidence
from toolkit.report.page import sections, summarise
from toolkit.report.tables.accuracy import accuracy_table, speaker_tables
from toolkit.report.tables.differences import compared, difference_table, families, protocol_tables
from toolkit.report.tables.provenance import missing_table
from toolkit.statistics.comparison import holm, interval, sign_flip_test
from toolkit.statistics.metrics import difference_by_speaker

GENDER = {"gender": {"source": "label"}}


def evidence(folder, experiment):
    return Evidence(experiment.write(folder))


def by_system(table):
    return {row["system"]: row for row in table.rows}


def rows_of(found, system, protocol="loso", seed=None):
    return [
        row for run in found.runs_of[system, protocol].runs if seed in (None, run.cell.seed) for row in predictions(run)
    ]


def matrices(found, system, speakers):
    """[speakers, classes, classes] of scikit-learn; the mean over two seeds."""
    counts = []
    for speaker in speakers:
        rows = [row for row in rows_of(found, system) if row["speaker"] == speaker]
        args = ([row["reference"] for row in rows], [row["predicted"] for row in rows])
        counts.append(oracle.confusion_matrix(*args, labels=list(LABELS)) / 2)
    return np.stack(counts)


@pytest.fixture(scope="module")
def two_seeds(tmp_path_factory):
    systems = {
        "ser": SER,
        "mf": FakeSystem(covariates=GENDER, skill=3.0),
        "w2e": FakeSystem(levels=("wav2vec2",), skill=0.4),
    }
    return evidence(tmp_path_factory.mktemp("two_seeds"), FakeExperiment(systems, seeds=(1, 2)))


def test_pooled_accuracies_are_the_mean_over_seeds_of_scikit_learns(two_seeds):
    row = by_system(accuracy_table(two_seeds.all_of(["ser", "mf"], "loso"), name="t", title="t"))["mf"]
    wa, ua = [], []
    for seed in (1, 2):
        rows = rows_of(two_seeds, "mf", seed=seed)
        args = ([r["reference"] for r in rows], [r["predicted"] for r in rows])
        wa.append(oracle.accuracy_score(*args))
        ua.append(oracle.balanced_accuracy_score(*args))
    assert row["wa"] == pytest.approx(np.mean(wa)) and row["ua"] == pytest.approx(np.mean(ua))
    assert row["speakers"] == 10 and row["cells"] == (20, 20)


def test_folds_and_seeds_have_the_deviations_of_their_means(two_seeds):
    row = by_system(accuracy_table(two_seeds.all_of(["ser"], "loso"), name="t", title="t"))["ser"]
    folds = {}
    for run in two_seeds.runs_of["ser", "loso"].runs:
        rows = predictions(run)
        right = oracle.accuracy_score([r["reference"] for r in rows], [r["predicted"] for r in rows])
        folds.setdefault(run.cell.fold, {})[run.cell.seed] = right
    values = np.array([[of[1], of[2]] for of in folds.values()])  # [folds, seeds]
    assert row["wa_folds"].mean == pytest.approx(values.mean())
    assert row["wa_folds"].over_folds == pytest.approx(values.mean(axis=1).std(ddof=1))
    assert row["wa_seeds"].over_seeds == pytest.approx(values.mean(axis=0).std(ddof=1))


def test_intervals_and_tests_are_those_of_the_speakers_confusions(two_seeds):
    ser, mf = (matrices(two_seeds, system, TEN) for system in ("ser", "mf"))
    accuracy = by_system(accuracy_table(two_seeds.all_of(["ser", "mf"], "loso"), name="t", title="t"))["mf"]
    difference = by_system(difference_table(two_seeds.all_of(["ser", "mf"], "loso"), name="t", title="t"))["mf"]
    for metric in ("wa", "ua"):
        assert accuracy[f"{metric}_interval"] == interval(mf, metric)
        assert difference[f"{metric}_interval"] == interval(mf, metric, minus=ser)
        assert difference[f"{metric}_difference"] == pytest.approx(difference_by_speaker(ser, mf, metric).sum())
    p = holm([sign_flip_test(difference_by_speaker(ser, mf, metric)) for metric in ("wa", "ua")])
    assert (difference["wa_p"], difference["ua_p"]) == pytest.approx(tuple(p))
    assert difference["wa_verdict"] == "better" and difference["speakers"] == 10


def test_multi_level_systems_are_one_family_and_single_levels_another_beside_the_baseline(tmp_path):
    found = evidence(tmp_path, paper_experiment(left=lambda *place: True))
    assert families(found) == {
        "ablation": ["ser", "mf", "mtl", "cr", "mf_mtl", "mf_cr", "mtl_cr", "mf_mtl_cr", "mf_predicted", "mf_shuffled"],
        "single_levels": ["ser", "w2e", "mfcc", "nlinear"],
    }
    alone = Evidence(found.folder, "mfcc")
    assert list(families(alone)) == ["all_systems"]
    assert families(alone)["all_systems"][:2] == ["mfcc", "ser"] and len(families(alone)["all_systems"]) == 13
    systems = paper_experiment().systems
    two = FakeExperiment({name: systems[name] for name in ("ser", "mfcc")}, left=lambda *place: True)
    assert families(evidence(tmp_path / "two", two)) == {"all_systems": ["ser", "mfcc"]}


def test_published_figures_stand_beside_ours_on_the_same_corpus_only(two_seeds, tmp_path):
    table = accuracy_table(two_seeds.all_of(["ser", "mf"], "loso"), name="t", title="t")
    assert by_system(table)["ser"]["wa_published"] == pytest.approx(0.7056)
    assert by_system(table)["mf"]["ua_published"] is None
    assert any("Multilevel emotion recognition" in note for note in table.notes)
    for changes in ({"corpus": "ravdess"}, {"synthetic": True}):
        other = evidence(tmp_path / str(changes), FakeExperiment({"ser": SER}, folds={"1M": ("1M",)}, **changes))
        table = accuracy_table(other.all_of(["ser"], "loso"), name="t", title="t")
        assert not any("published" in column.key for column in table.columns)
        assert not any("Published" in note for note in table.notes)


@pytest.fixture(scope="module")
def incomplete(tmp_path_factory):
    """mf lacks two speakers, w2e everything, and a cell of ser has failed."""
    systems = {"ser": SER, "mf": FakeSystem(skill=3.0), "w2e": FakeSystem(levels=("wav2vec2",))}
    experiment = FakeExperiment(
        systems,
        left=lambda system, protocol, fold, seed: (system == "mf" and fold in ("1M", "5F")) or system == "w2e",
        failed={("ser", "loso", "3M", 1): "Out of memory on <gpu> & more"},
    )
    return evidence(tmp_path_factory.mktemp("incomplete"), experiment)


def test_a_system_with_missing_cells_is_marked_and_compared_over_common_speakers(incomplete):
    table = difference_table(incomplete.all_of(["ser", "mf"], "loso"), name="t", title="t")
    (row,) = table.rows
    assert row["system"] == "mf" and row["speakers"] == 7
    assert table.notes[-1] == "Not all cells of ser and mf are done: only finished ones count."
    row = by_system(accuracy_table(incomplete.all_of(["ser", "mf"], "loso"), name="t", title="t"))["mf"]
    assert row["cells"] == (8, 10) and row["speakers"] == 8


def test_a_system_without_a_finished_cell_has_a_row_without_figures(incomplete):
    row = by_system(accuracy_table(incomplete.all_of(["ser", "w2e"], "loso"), name="t", title="t"))["w2e"]
    assert row["wa"] is row["wa_interval"] is row["ua_folds"] is None and row["cells"] == (0, 10)
    (row,) = difference_table(incomplete.all_of(["ser", "w2e"], "loso"), name="t", title="t").rows
    assert row["wa_verdict"] == "not compared" and row["speakers"] == 0


def test_missing_and_failed_cells_are_named_failed_ones_first(incomplete):
    (table,) = sections(incomplete, "loso")["Failed and missing cells"]
    rows = table.rows
    assert len(rows) == 1 + 2 + 10
    assert (rows[0]["state"], rows[0]["fold"], rows[0]["error"]) == ("failed", "3M", "Out of memory on <gpu> & more")
    assert {row["state"] for row in rows[1:]} == {"not done"}
    assert "The experiment is not complete" in " ".join(summarise(incomplete, "loso"))


def test_a_fold_that_only_other_systems_have_is_missing_and_the_row_is_not_comparable(tmp_path):
    systems, folds = {"ser": SER, "mf": FakeSystem()}, {s: (s,) for s in ("1M", "1F", "2M")}
    planned = lambda system, protocol, fold, seed: (system, fold) in (("mf", "1M"), *product(["ser"], folds))  # noqa: E731
    found = evidence(tmp_path, FakeExperiment(systems, folds=folds, planned=planned))
    table = accuracy_table(found.all_of(systems, "loso"), name="t", title="t")
    assert "mf: 1 of 3 folds only; its row is not comparable with the others." in table.notes
    assert by_system(table)["mf"]["cells"] == (1, 3) and by_system(table)["ser"]["cells"] == (3, 3)
    missing = missing_table(found).rows
    assert [(row["system"], row["fold"], row["state"]) for row in missing] == [
        ("mf", "1F", "not done"), ("mf", "2M", "not done")
    ]  # fmt: skip
    assert "4 of 6 cells done." in summarise(found, "loso")[0]


def test_under_six_speakers_there_is_no_interval_no_test_and_no_verdict(tmp_path):
    systems = {"ser": FakeSystem(skill=0.0), "mf": FakeSystem(skill=9.0)}
    found = evidence(tmp_path, FakeExperiment(systems, folds={s: (s,) for s in TEN[:5]}))
    tested = found.all_of(["ser", "mf"], "loso")
    assert by_system(accuracy_table(tested, name="t", title="t"))["mf"]["wa_interval"] is None
    table = difference_table(tested, name="t", title="t")
    (row,) = table.rows
    assert row["wa_verdict"] == row["ua_verdict"] == "too few speakers to tell"
    assert row["wa_p"] is row["wa_interval"] is None and row["wa_difference"] > 0.3
    assert any("below 6" in note for note in table.notes)
    short = " ".join(summarise(found, "loso"))
    assert "too few speakers" in short and "better" not in short


def test_speakers_without_names_are_never_counted_as_many(tmp_path):
    systems = {"ser": FakeSystem(skill=0.0), "mf": FakeSystem(skill=9.0)}
    folds = {str(number): (speaker,) for number, speaker in enumerate(TEN)}
    gaps = {("mf", "2"), ("ser", "4")}
    found = evidence(
        tmp_path,
        FakeExperiment(systems, folds=folds, named=False, left=lambda s, p, fold, seed: (s, fold) in gaps),
    )
    table = difference_table(found.all_of(["ser", "mf"], "loso"), name="t", title="t")
    (row,) = table.rows
    assert row["speakers"] == 0 and row["wa_verdict"] == "unnamed speakers: no test"
    assert any("Name every speaker" in note for note in table.notes) and "few" not in "".join(table.notes)
    assert summarise(found, "loso")[-1].endswith(", against ser: unnamed speakers: no test in 2 comparisons.")


class InEveryFold(FakeExperiment):
    """Each speaker is tested in each of the folds a, b and c, on other utterances."""

    def speaker_utterances(self, speaker):
        return [replace(u, speaker=speaker[:2]) for u in super().speaker_utterances(speaker)]


THREE = {fold: [speaker + fold for speaker in TEN[:7]] for fold in "abc"}


def test_speakers_of_several_folds_are_compared_over_the_folds_that_both_systems_have(tmp_path):
    def answer(cell, reference):
        """ser is right in fold b alone, the others always."""
        return np.eye(4)[reference if cell.system != "ser" or cell.fold == "b" else (reference + 1) % 4]

    systems = {"ser": SER, "mf": FakeSystem(), "cr": FakeSystem()}
    options = {"folds": THREE, "protocols": ("speaker-dependent",), "answer": answer}
    left = lambda system, protocol, fold, seed: (system, fold) in (("mf", "b"), ("cr", "a"))  # noqa: E731
    found = evidence(tmp_path, InEveryFold(systems, left=left, **options))
    mf, cr = difference_table(found.all_of(list(systems), "speaker-dependent"), name="t", title="t").rows
    assert mf["wa_difference"] == mf["ua_difference"] == 1.0 and mf["speakers"] == 7, "a and c"
    assert cr["wa_difference"] == pytest.approx(0.5, abs=0.02) and cr["speakers"] == 7, "b and c"
    table, _ = speaker_tables(found.tested("speaker-dependent"))
    row, whole = table.rows[0], InEveryFold(systems)
    tested = [u for fold in "abc" for u in whole.speaker_utterances(row["speaker"] + fold)]
    assert row["n"] == len(tested), "those of ser, which has all folds"


@pytest.mark.parametrize(("missing", "speakers"), [("b", 0), (None, 7)])
def test_a_step_pairs_speakers_with_the_same_utterances_under_both_protocols(tmp_path, missing, speakers):
    found = evidence(
        tmp_path,
        InEveryFold(
            {"ser": SER},
            folds=THREE,
            protocols=("groups", "speaker-dependent"),
            left=lambda system, protocol, fold, seed: (protocol, fold) == ("speaker-dependent", missing),
        ),
    )
    (row,) = protocol_tables(found)[1].rows
    assert row["speakers"] == speakers and (row["wa_difference"] is None) == (speakers == 0)


def test_nothing_is_called_better_or_worse_that_the_tests_do_not_show(tmp_path):
    systems = {"ser": FakeSystem(), "same": FakeSystem(), "good": FakeSystem(skill=5.0), "bad": FakeSystem(skill=-5.0)}
    found = evidence(tmp_path, FakeExperiment(systems))
    verdicts = {(c.system, c.metric): c.verdict for c in compared(found.all_of(systems, "loso"))}
    assert set(verdicts.values()) == {"better", "worse", "no difference shown"}
    (sentence,) = summarise(found, "loso")[1:]
    assert sentence == (
        "Ablation, against ser: better: good in WA, good in UA; worse: bad in WA, bad in UA; "
        "no difference shown in 2 comparisons."
    )


def test_a_note_says_when_there_are_too_many_comparisons_for_a_small_p(tmp_path):
    systems = {f"s{number}": FakeSystem(skill=number) for number in range(3)}
    found = evidence(tmp_path, FakeExperiment(systems, folds={s: (s,) for s in TEN[:6]}))
    notes = difference_table(found.all_of(list(systems), "loso"), name="t", title="t").notes
    assert any("with 6 speakers and 4 comparisons no p can fall below 0.05" in note for note in notes)
    assert summarise(found, "loso")[1] == "Ablation, against s0: too few speakers to tell in 4 comparisons."


def test_protocols_are_in_order_and_a_step_is_the_paired_difference(tmp_path):
    protocols = ("loso-as-published", "loso", "loso-test-epoch")
    found = evidence(tmp_path, FakeExperiment({"ser": SER}, protocols=protocols))
    table, steps = protocol_tables(found)
    assert [column.key for column in table.columns if column.key.startswith("ua")] == [
        "ua_loso", "ua_loso-test-epoch", "ua_loso-as-published"
    ]  # fmt: skip
    first, second = steps.rows
    assert first["step"] == "loso → loso-test-epoch" and second["step"] == "loso-test-epoch → loso-as-published"
    (row,) = table.rows
    assert first["ua_difference"] == pytest.approx(row["ua_loso-test-epoch"] - row["ua_loso"])
    assert second["wa_difference"] == pytest.approx(row["wa_loso-as-published"] - row["wa_loso-test-epoch"])
    assert first["ua_interval"].low < first["ua_difference"] < first["ua_interval"].high
    assert len(table.stamps) == len(steps.stamps) == 2
    assert accuracy_table(found.all_of(["ser"], "loso"), name="t", title="t").stamps == ()
