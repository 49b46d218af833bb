"""Plans: which cells there are, what makes a new one, and what cannot be compared."""

import json
from dataclasses import replace

import pytest
from small_system import write_corpus, write_recipe

from toolkit.errors import CorpusError, ExperimentError, ProtocolError, RecipeError
from toolkit.experiment import cells as cells_module
from toolkit.experiment.cells import CellProgress, Record, Records, Threads, make_tasks, run_task, seconds_left
from toolkit.experiment.command import describe
from toolkit.experiment.plan import Cell, make_plan, merged, read_plan, with_protocol, write_plan
from toolkit.report.evidence import Evidence
from toolkit.training.preparation import load_source


@pytest.fixture
def small(tmp_path):
    """Load the small recipe under another name, with overrides."""
    recipe = write_recipe(tmp_path)

    def source(name="small", **overrides):
        return load_source(recipe, [f"--name={name}", *(f"--{key}={value}" for key, value in overrides.items())])

    return source


def keys(plan):
    return [(cell.system, cell.fold, cell.seed) for cell in plan.cells]


def test_every_system_meets_every_fold_with_every_seed(small):
    plan = make_plan([small("a"), small("b")], seeds=(1, 2))
    assert len(plan.cells) == 2 * 3 * 2
    assert keys(plan)[:4] == [("a", "S1", 1), ("b", "S1", 1), ("a", "S2", 1), ("b", "S2", 1)]
    assert plan.folds == {"session-out": ("S1", "S2", "S3")} and plan.labels == ("noise", "tone")


def test_errors_in_a_recipe_or_in_the_data_of_a_fold_are_found_before_anything_is_trained(small, tmp_path):
    with pytest.raises(RecipeError, match=r"extractor 'mfcc' has no argument 'n_mfc'\. Did you mean 'n_mfcc'"):
        make_plan([small("a"), small("b", **{"model.levels.mfcc.args.n_mfc": 13})])
    manifest = tmp_path / "corpus" / "manifest.csv"
    rows = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(row.replace(",tone,", ",rare,") if ",1M," in row else row for row in rows))
    with pytest.raises(CorpusError, match="Fold 'S1': no training utterance has the label rare"):
        make_plan([small()])
    assert keys(make_plan([small()], folds=("S2",))) == [("small", "S2", 1)]


def test_folds_are_taken_in_the_protocols_order(small):
    assert keys(make_plan([small()], folds=("S3", "S1"))) == [("small", "S1", 1), ("small", "S3", 1)]


def test_an_unknown_fold_is_named_with_the_nearest(small):
    with pytest.raises(ProtocolError, match=r"No fold is called 'S11'\. Did you mean 'S1'\? Folds are S1, S2"):
        make_plan([small()], folds=("S11",))


def test_a_protocol_that_is_named_twice_is_planned_once(small):
    assert len(make_plan([small()], protocols=("loso", "loso"), folds=("1F",)).cells) == 1


def test_an_unknown_protocol_is_named_with_the_nearest(small):
    with pytest.raises(ProtocolError, match=r"No protocol is called 'losso'\. Did you mean 'loso'"):
        make_plan([small()], protocols=("losso",))


def test_what_a_protocol_refuses_is_refused_before_anything_is_trained(small):
    with pytest.raises(ProtocolError, match="needs the column split"):
        make_plan([small()], protocols=("given",))


def test_a_cell_changes_with_a_setting_and_with_nothing_else(small):
    (first,) = make_plan([small()], folds=("S1",)).cells
    (again,) = make_plan([small(output_folder="elsewhere", seed=9)], folds=("S1",)).cells
    (other,) = make_plan([small(**{"training.epochs": 4})], folds=("S1",)).cells
    assert again == first
    assert other.fingerprint != first.fingerprint and other.key == first.key and other.name != first.name


def test_two_recipes_of_one_name_are_refused(small):
    with pytest.raises(ExperimentError, match="Two recipes are called 'small': write another `name:`"):
        make_plan([small(), small(**{"training.epochs": 4})])


def test_systems_on_other_labels_or_utterances_are_refused(small, tmp_path):
    with pytest.raises(ExperimentError, match="'a' and 'b' have different labels, noise, tone and tone, noise"):
        make_plan([small("a"), small("b", labels="[tone, noise]")])
    more = write_corpus(tmp_path / "more", utterances=6)
    with pytest.raises(ExperimentError, match="'a' and 'b' have different utterances"):
        make_plan([small("a"), small("b", **{"corpus.args.path": more})])


def test_an_argument_of_the_protocol_holds_for_every_recipe(small):
    a, b = (
        small("a", **{"protocol.args": "{k: 3}"}),
        small("b", **{"protocol.name": "given", "protocol.args": "{k: 3}"}),
    )
    assert make_plan([a, b], protocols=("groups",)).folds == {"groups": ("1", "2", "3")}
    assert with_protocol(b.recipe, "groups").protocol.args == {"k": 3}
    with pytest.raises(ProtocolError, match="protocol 'groups' takes no 'kk'; it takes k"):
        make_plan([small(**{"protocol.args": "{kk: 3}"})], protocols=("groups",))


def test_systems_with_other_folds_are_refused_in_one_command_and_in_two(small):
    three, five = (small(f"k{k}", **{"protocol.name": "groups", "protocol.args": f"{{k: {k}}}"}) for k in (3, 5))
    with pytest.raises(ExperimentError, match="'k3' and 'k5' have different folds of protocol 'groups'"):
        make_plan([three, five])
    with pytest.raises(ExperimentError, match="one in the folder have different folds of protocol 'groups'"):
        merged(make_plan([three]), make_plan([five]))


def test_recipes_of_different_protocols_need_a_choice(small):
    with pytest.raises(ExperimentError, match="session-out, loso: choose with --protocol"):
        make_plan([small("a"), small("b", **{"protocol.name": "loso"})])


def test_a_plan_comes_back_from_its_file(small, tmp_path):
    plan = make_plan([small("a"), small("b")], seeds=(1, 2))
    write_plan(tmp_path, plan)
    assert read_plan(tmp_path) == plan
    file = tmp_path / "experiment.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "protocols": ["session-out"]}))
    assert read_plan(tmp_path) == plan, "as files of version 0.1 name the protocols twice"


def test_a_damaged_plan_says_what_to_do(small, tmp_path):
    write_plan(tmp_path, make_plan([small()]))
    (tmp_path / "experiment.json").write_text('{"version": 1, "systems": {')
    with pytest.raises(ExperimentError, match=r"experiment.json is damaged .* finished cells are kept"):
        read_plan(tmp_path)


def test_a_second_command_adds_its_cells(small):
    first = make_plan([small("a")], folds=("S1",))
    whole = merged(first, make_plan([small("b")], folds=("S1", "S2"), seeds=(2,)))
    assert [(c.system, c.fold, c.seed) for c in whole.cells] == [("a", "S1", 1), ("b", "S1", 2), ("b", "S2", 2)]
    assert whole.seeds == (1, 2) and whole.folds == {"session-out": ("S1", "S2")}


def test_cells_with_other_settings_are_never_mixed(small):
    first = make_plan([small("a"), small("b")])
    whole = merged(first, make_plan([small("a", **{"training.epochs": 4})], folds=("S1",)))
    assert [c.fold for c in whole.cells if c.system == "a"] == ["S1"]
    assert len([c for c in whole.cells if c.system == "b"]) == 3


def test_a_plan_holds_no_protocol_fold_or_seed_whose_cells_are_all_left_out(small):
    first = make_plan([small()], protocols=("session-out",), folds=("S1", "S2"), seeds=(1, 2))
    second = make_plan([small()], protocols=("loso",), folds=("1F",))
    changed = make_plan([small(**{"training.epochs": 4})], protocols=("session-out",), folds=("S2",), seeds=(2,))
    whole = merged(merged(first, second), changed)
    assert (whole.folds, whole.seeds, [*whole.splits]) == ({"session-out": ("S2",)}, (2,), ["session-out"])


def test_an_experiment_on_other_data_needs_another_folder(small):
    with pytest.raises(ExperimentError, match=r"in the folder have different utterances: .* another --output"):
        merged(make_plan([small()]), replace(make_plan([small()]), corpus="other"))


def test_protocols_that_are_read_from_one_training_are_one_task(small, tmp_path):
    plan = make_plan([small()], protocols=("loso", "loso-test-epoch", "loso-as-published"), folds=("1F",))
    tasks = make_tasks(tmp_path, plan, plan.cells, Threads(1))
    assert [[cell.protocol for cell in task.cells] for task in tasks] == [
        ["loso", "loso-test-epoch"],
        ["loso-as-published"],
    ]


def test_the_progress_of_a_fitted_system_does_not_count_epoch_0(small, tmp_path):
    plan = make_plan([small()], folds=("S1",))
    Records(tmp_path).write(Record(plan.cells[0], "running", 1.5, epochs=3, run="run"))
    (tmp_path / "runs" / "run").mkdir(parents=True)
    (tmp_path / "runs" / "run" / "epochs.csv").write_text("epoch,valid_wa\n0,0.5\n1,0.6\n")
    (cell,) = Records(tmp_path).progress(plan, alive=True)
    assert cell.epoch == 1 and "running: 1 of 3 epochs" in describe(cell)


def test_a_finished_cell_is_read_once_unless_it_runs_again_for_its_weights(small, tmp_path, monkeypatch):
    monkeypatch.setattr(cells_module, "read_results", lambda path: {"ua": 0.5, "stamps": []})
    plan, records = make_plan([small()], folds=("S1", "S2")), Records(tmp_path)
    again, once = plan.cells
    for cell in (again, once):
        (tmp_path / "runs" / cell.fold).mkdir(parents=True)
        (tmp_path / "runs" / cell.fold / "results.json").write_text("{}")
        records.write(Record(cell, "done", 1.0, ended=2.0, run=cell.fold, random=cell is again))
    assert [cell.state for cell in records.progress(plan, alive=True)] == ["done", "done"]
    for cell in (again, once):
        records.write(Record(cell, "running", 3.0, run=cell.fold))
    assert [cell.state for cell in records.progress(plan, alive=True)] == ["running", "done"]


def test_the_rest_takes_as_long_as_the_longest_cell_and_as_the_cells_that_run_at_a_time_allow():
    def cell(state, seconds=0.0, system="ser"):
        return CellProgress(Cell(system, "loso", "1M", next(numbers), "00000000"), state, seconds=seconds)

    numbers = iter(range(99))
    done = [cell("done", 100.0), cell("done", 20.0, "mfcc")]
    assert seconds_left([*done, cell("running", 40.0)]) == 60.0
    assert seconds_left([*done, cell("running", 40.0), cell("running", 15.0, "mfcc")]) == 60.0, "the other one waits"
    four, eight = [cell("running", 50.0) for _ in range(4)], [cell("waiting") for _ in range(8)]
    assert seconds_left([*done, *four, *eight]) == (4 * 50 + 8 * 100) / 4
    assert seconds_left([*done, cell("interrupted", 40.0)]) is seconds_left([cell("running", 40.0)]) is None


def test_a_record_comes_back_and_a_damaged_one_is_named(tmp_path):
    cell, records = Cell("ser", "loso", "1M", 1, "00000000"), Records(tmp_path)
    assert records.read(cell) is None
    record = Record(cell, "failed", 1.5, ended=2.5, error="no\nroom")
    records.write(record)
    assert records.read(cell) == record
    for damage in ("{", '{"cell": 3, "state": "done", "started": 1.0}'):
        records.path(cell).write_text(damage)
        with pytest.raises(ExperimentError, match=r"ser-loso-1M.*\.json is damaged .*: delete it and run the command"):
            records.read(cell)


def test_folds_whose_names_become_alike_are_trained_recorded_and_reported_separately(tmp_path):
    recipe = write_recipe(tmp_path)
    manifest, short = tmp_path / "corpus" / "manifest.csv", {"model.levels.mfcc.args.hidden": 2, "training.epochs": 1}
    odd = {"1F": "a b", "1M": "a_b", "2F": ".c", "2M": "c", "3F": "x/y", "3M": "x:y"}
    text = manifest.read_text()
    for plain, name in odd.items():
        text = text.replace(f",{plain},", f",{name},")
    manifest.write_text(text)
    plan = make_plan([load_source(recipe, ["--protocol.name=loso", *(f"--{k}={v}" for k, v in short.items())])])
    folder = tmp_path / "experiment"
    folder.mkdir()
    write_plan(folder, plan)
    for task in make_tasks(folder, plan, plan.cells, Threads(1)):
        run_task(task)
    found = Evidence(folder)
    assert len({run.folder for run in found.runs}) == len(list(folder.glob("cells/*.json"))) == 6
    assert [run.results["fold"] for run in found.runs] == [run.cell.fold for run in found.runs]
    tested = found.runs_of["small", "loso"]
    assert {run.cell.fold: set(run.answers.speaker) for run in tested.runs} == {name: {name} for name in odd.values()}
    assert sum(matrix.sum() for matrix in tested.confusions.values()) == 24


def test_cells_of_folds_with_odd_names_have_files_of_their_own(tmp_path):
    records = Records(tmp_path)
    cells = [Cell("ser", "loso", fold, 1, "00000000") for fold in ("a/b", "a_b", "../b", "ä" * 200, "ö" * 200)]
    for number, cell in enumerate(cells):
        records.write(Record(cell, "running", float(number)))
        assert records.path(cell, ".log").parent == tmp_path / "cells"
    assert [records.read(cell).started for cell in cells] == [0, 1, 2, 3, 4]
