import numpy as np
import pytest
import soundfile
from recipe_files import recipe_of

from toolkit.corpus import Utterance
from toolkit.corpus.checks import CheckReport, Problem, check_corpus, summarise
from toolkit.corpus.folds import Fold

NOISE = np.random.default_rng(1)


def write(path, *, samples=1600, rate=16000, channels=1, level=0.1, subtype="PCM_16"):
    soundfile.write(path, NOISE.normal(0, level, (samples, channels)), rate, subtype=subtype)
    return path


@pytest.fixture
def corpus(tmp_path):
    """Two speakers with two classes; nothing is wrong."""
    return [
        Utterance(id=f"{s}{x}", path=write(tmp_path / f"{s}{x}.wav"), label=x, speaker=s, gender=g)
        for s, g in (("2", "F"), ("10", "M"))
        for x in ("a", "b")
    ]


def check(utterances, folds=(), **changes) -> CheckReport:
    settings = {"labels": ["b", "a"], "label_map": {"c": None}, "segment_samples": 1000}
    return check_corpus(utterances, recipe_of(**(settings | changes)), folds)


def only(report: CheckReport) -> Problem:
    (problem,) = report.problems
    assert "\n" not in problem.message
    return problem


def extra(path, label="a", speaker="2", **fields) -> Utterance:
    return Utterance(id=path.stem, path=path, label=label, speaker=speaker, **fields)


def test_a_sound_corpus_has_counts_and_no_problem(corpus):
    report = check(corpus)
    assert report.as_dict() == {"counts": {"2": {"b": 1, "a": 1}, "10": {"b": 1, "a": 1}}, "folds": [], "problems": []}
    assert list(report.counts) == ["2", "10"] and list(report.counts["2"]) == ["b", "a"]
    assert not report.stops
    assert report.notes == ["4 utterances, 0.00 h could be read, 8 segments"]


@pytest.mark.parametrize(
    ("kind", "severity", "make"),
    [
        ("missing", "error", lambda p: None),
        ("unreadable", "error", lambda p: p.write_text("text " * 100)),
        ("empty", "error", lambda p: p.touch()),
        ("truncated", "error", lambda p: p.write_bytes(write(p).read_bytes()[:-100])),
        ("too-short", "warning", lambda p: write(p, samples=399)),
        ("too-short", "warning", lambda p: write(p, samples=1190, rate=48000)),
        ("silent", "warning", lambda p: write(p, level=1e-4, subtype="FLOAT")),
        ("stereo", "warning", lambda p: write(p, channels=2)),
        ("odd-rate", "warning", lambda p: write(p, rate=8000)),
        ("odd-rate", "warning", lambda p: write(p, rate=8)),
    ],
)
def test_every_fault_of_a_file_is_found_and_named(corpus, tmp_path, kind, severity, make):
    path = tmp_path / "faulty.wav"
    make(path)
    problem = only(report := check([*corpus, extra(path)]))
    assert (problem.kind, problem.severity, problem.where) == (kind, severity, str(path))
    assert str(path) in problem.message
    assert report.stops == (severity == "error")
    assert report.counts["2"] == {"b": 1, "a": 2}


def test_a_file_of_exactly_one_window_can_be_used(corpus, tmp_path):
    assert not check([*corpus, extra(write(tmp_path / "x.wav", samples=400))]).problems


def test_nan_and_stretches_beyond_the_file_are_found(corpus, tmp_path):
    soundfile.write(tmp_path / "nan.wav", np.full(1600, np.nan), 16000, subtype="FLOAT")
    late = extra(write(tmp_path / "late.wav"), start=0.05, end=0.5)
    report = check([*corpus, extra(tmp_path / "nan.wav"), late])
    assert [p.kind for p in report.problems] == ["not-finite", "out-of-range"]


def test_labels_left_out_on_purpose_are_not_a_problem_and_their_files_are_not_read(corpus, tmp_path):
    report = check([*corpus, extra(tmp_path / "nowhere.wav", label="c")])
    assert not report.problems
    assert "left out on purpose by label_map: c (1)" in report.notes


def test_the_balance_of_a_fold_is_that_of_the_classes(corpus, tmp_path):
    us = [*corpus, *(extra(write(tmp_path / f"3{x}.wav"), label=x, speaker="3") for x in "bc")]
    fold = Fold("f", "given", ("2a", "2b"), ("10a", "10b"), ("3b", "3c"))
    assert not check(us, label_map={"c": "a"}, folds=[fold]).problems


def test_a_label_that_nothing_maps_is_an_error_with_its_nearest(corpus, tmp_path):
    problem = only(check([*corpus, extra(write(tmp_path / "x.wav"), label="bb")]))
    assert (problem.kind, problem.severity, problem.where) == ("unmapped-label", "error", "bb")
    assert "Did you mean 'b'?" in problem.message and '{"bb": null}' in problem.message


def test_a_class_without_utterances_is_an_error(corpus):
    problem = only(report := check(corpus, labels=["a", "b", "z"]))
    assert (problem.kind, problem.severity, problem.where) == ("empty-class", "error", "z")
    assert report.counts["2"] == {"a": 1, "b": 1, "z": 0}


def test_the_same_audio_twice_is_a_warning_that_names_the_files(corpus, tmp_path):
    (tmp_path / "copy.wav").write_bytes(corpus[0].path.read_bytes())
    problem = only(check([*corpus, extra(tmp_path / "copy.wav", label="b")]))
    assert (problem.kind, problem.severity) == ("duplicate", "warning")
    assert "labelled a, b" in problem.message and "copy.wav" in problem.message
    same_file = Utterance(id="again", path=corpus[0].path, label="a", speaker="2")
    assert only(check([*corpus, same_file])).kind == "duplicate"


def test_a_speaker_of_two_genders_is_an_error(corpus, tmp_path):
    problem = only(check([*corpus, extra(write(tmp_path / "x.wav"), gender="M")]))
    assert (problem.kind, problem.severity, problem.where) == ("two-genders", "error", "2")


def test_a_missing_gender_is_an_error_only_where_a_covariate_needs_it(corpus, tmp_path):
    us = [*corpus, extra(write(tmp_path / "x.wav"))]
    assert not check(us).problems
    problem = only(check(us, covariates=["gender"]))
    assert (problem.kind, problem.severity, problem.where) == ("gender-missing", "error", "x")


def test_without_speakers_there_is_one_row_and_one_for_those_without(tmp_path):
    us = [Utterance(id=x, path=write(tmp_path / f"{x}.wav"), label=x) for x in "ab"]
    assert check(us).as_dict() == {"counts": {"all": {"b": 1, "a": 1}}, "folds": [], "problems": []}
    report = check([*us, extra(write(tmp_path / "x.wav"))])
    assert not report.problems
    assert report.counts == {"2": {"b": 0, "a": 1}, "no speaker": {"b": 1, "a": 1}}


def test_without_given_labels_all_that_is_left_is_counted_in_sorted_order(corpus):
    report = check(corpus, labels=None, label_map={"b": "z"})
    assert report.counts["2"] == {"a": 1, "z": 1} and not report.problems


def test_an_empty_corpus_stops(corpus):
    assert check([]).stops


def test_errors_come_first_and_a_terminal_gets_a_summary(corpus, tmp_path):
    us = [*corpus, extra(write(tmp_path / "s.wav", channels=2)), *(extra(tmp_path / f"m{i}.wav") for i in range(5))]
    report = check(us)
    assert [p.severity for p in report.problems] == ["error"] * 5 + ["warning"]
    lines = summarise(report.problems)
    assert lines[0] == "error: missing (5)" and lines[4] == "  and 2 more; --json lists all"
    assert lines[5] == "warning: stereo (1)"
