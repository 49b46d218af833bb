"""`toolkit evaluate` and `toolkit compare`: a trained system, or two, on a corpus with labels."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from stand_in_bundle import write_bundle

import toolkit
from toolkit.cli.main import main as cli
from toolkit.corpus import read_manifest
from toolkit.report.tables.table import INTERVAL
from toolkit.statistics import metrics
from toolkit.statistics.comparison import Interval, holm, interval, sign_flip_test
from toolkit.statistics.confidence import expected_calibration_error
from toolkit.statistics.metrics import speaker_confusions

pytestmark = pytest.mark.usefixtures("stand_in")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("a") / "a", seed=3)


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Path:
    """Another system with the same classes in another order."""
    return write_bundle(tmp_path_factory.mktemp("b") / "b", seed=8, labels=["tone", "noise"])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """Eight speakers with six recordings each, labelled as in another corpus: hum, hiss, and three coughs."""
    folder, rng, lines = tmp_path_factory.mktemp("corpus"), np.random.default_rng(7), ["path,label,speaker,gender"]
    for speaker in range(8):
        for number in range(6):
            name, label = f"{speaker}-{number}.wav", ("hum", "hiss")[number % 2]
            time = np.arange(3200 + 160 * speaker) / 16_000
            tone = np.sin(2 * np.pi * (100 + 20 * speaker) * time)
            mix = rng.uniform(0, 1) if number > 2 else float(label == "hum")
            wave = 0.2 * (mix * tone + (1 - mix) * rng.standard_normal(len(time)))
            soundfile.write(folder / name, np.clip(wave, -1, 1), 16_000)
            label = "cough" if number == 5 and speaker < 3 else label
            lines.append(f"{name},{label},s{speaker},{'FM'[speaker % 2]}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.csv"


MAP = ("--map", "hum=tone,hiss=noise", "--map", "cough=")


def run(command, *words):
    return CliRunner().invoke(cli, [command, *map(str, words)], catch_exceptions=False)


def found(command, *words) -> dict:
    done = run(command, *words, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def by_hand(bundle: Path, manifest: Path) -> tuple[list[str], list[str], list[str], list[dict]]:
    """Speakers, reference, prediction and probabilities, file by file."""
    model, names = toolkit.load(bundle, device="cpu"), {"hum": "tone", "hiss": "noise"}
    kept = [u for u in read_manifest(manifest) if u.label in names]
    answers = [model.predict(u.path) for u in kept]
    reference = [names[u.label] for u in kept]
    return [u.speaker for u in kept], reference, [a.label for a in answers], [a.probabilities for a in answers]


def test_labels_that_predict_wrote_are_not_a_reference(bundle, corpus, tmp_path):
    predicted = CliRunner().invoke(cli, ["predict", str(bundle), str(corpus.parent), "--format", "csv"]).stdout
    (tmp_path / "predicted.csv").write_text(predicted)
    assert "its labels are predictions themselves" in run("evaluate", bundle, tmp_path / "predicted.csv").stderr
    assert "predictions themselves" not in run("evaluate", bundle, corpus, *MAP).stderr


def test_every_figure_is_that_of_the_answers_file_by_file(bundle, corpus):
    result = found("evaluate", bundle, corpus, *MAP)
    speakers, reference, predicted, probabilities = by_hand(bundle, corpus)
    labels = ["noise", "tone"]
    expected = metrics.summary(metrics.confusion_matrix(reference, predicted, labels=labels), labels=labels)
    assert {key: result[key] for key in expected} == expected
    assert result["n_utterances"] == 45 and result["n_speakers"] == 8 and result["left_out"] == {"cough": 3}
    counts = np.stack([*speaker_confusions(speakers, reference, predicted, classes=labels).values()])
    for metric in ("wa", "ua"):
        low_high = interval(counts, metric)
        assert result["intervals"][metric] == [low_high.low, low_high.high]
    rows = np.array([[p[label] for label in labels] for p in probabilities])
    ece = expected_calibration_error(rows, reference, labels=labels)
    assert result["calibration_error"] == pytest.approx(ece, abs=1e-5)
    women = [index for index, speaker in enumerate(speakers) if int(speaker[1]) % 2 == 0]
    right = np.mean([reference[i] == predicted[i] for i in women])
    assert result["by_gender"]["F"]["n"] == len(women) and result["by_gender"]["F"]["wa"] == pytest.approx(right)
    assert result["missing_classes"] == [] and result["stamps"] == []


def test_a_table_of_other_columns_gives_the_same_figures(bundle, corpus):
    table = corpus.with_name("table.csv")
    table.write_text(corpus.read_text().replace("path,label,speaker", "file;sound;who", 1).replace(",", ";"))
    columns = ("--columns", "path=file,label=sound,speaker=who")
    result, expected = found("evaluate", bundle, table, *MAP, *columns), found("evaluate", bundle, corpus, *MAP)
    assert result | {"manifest": None} == expected | {"manifest": None}


def test_the_page_for_readers_has_the_same_figures(bundle, corpus):
    result, done = found("evaluate", bundle, corpus, *MAP), run("evaluate", bundle, corpus, *MAP)
    assert done.exit_code == 0
    for key in ("wa", "ua", "macro_f1", "calibration_error"):
        assert f" {100 * result[key]:.2f} " in done.stdout, key
    for low, high in result["intervals"].values():
        assert INTERVAL.show(Interval(low, high)) in done.stdout
    assert "women" in done.stdout and "Confusion" in done.stdout and "Left out by --map: cough (3)." in done.stdout


def test_a_class_without_utterances_is_reported_and_does_not_count(bundle, corpus):
    result = found("evaluate", bundle, corpus, "--map", "hum=tone,hiss=,cough=")
    assert result["missing_classes"] == ["noise"] and result["recall"]["noise"] is None
    assert result["ua"] == result["recall"]["tone"] == result["wa"]
    assert any("No utterance is noise: UA is over the classes that occur." in note for note in result["notes"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            [],
            "Labels that are not classes of the system (noise, tone): "
            "'cough' (3), 'hiss' (21), 'hum' (24). Add --map cough=CLASS",
        ),
        (
            ["--map", "hum=tone,hiss=noise"],
            "Labels that are not classes of the system (noise, tone): 'cough' (3)",
        ),
        (["--map", "hum=tones,hiss=noise,cough="], "Did you mean 'tone'?"),
        (["--map", "hum"], "LABEL=CLASS"),
        (["--map", "hum=tone,hum=noise"], "each name once"),
        (["--map", "hum=,hiss=,cough="], "leaves out every utterance"),
        (
            ["--map", "hum=tone,hiss=noise,cough=,hish=noise"],
            "'hish', a label that no utterance has. Did you mean 'hiss'?",
        ),
    ],
)
def test_labels_that_the_system_does_not_know_are_listed_and_nothing_is_guessed(bundle, corpus, words, message):
    done = run("evaluate", bundle, corpus, *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_a_label_near_a_class_gets_a_suggestion(bundle, corpus, tmp_path):
    (tmp_path / "m.csv").write_text(f"path,label\n{corpus.parent}/0-0.wav,tones\n{corpus.parent}/0-1.wav,cough\n")
    done = run("evaluate", bundle, tmp_path / "m.csv")
    assert done.exit_code == 2 and "'cough' (1), 'tones' (1). Did you mean 'tone'? Add --map tones=CLASS" in done.stderr


def part_of(corpus: Path, path: Path, change) -> Path:
    """A manifest of edited lines of the corpus, with absolute paths."""
    header, *lines = corpus.read_text().splitlines()
    path.write_text("\n".join([header, *(f"{corpus.parent}/{line}" for line in change(lines))]) + "\n")
    return path


def test_too_few_speakers_have_no_interval_and_a_note(bundle, corpus, tmp_path):
    few = part_of(corpus, tmp_path / "m.csv", lambda lines: lines[:30])
    result = found("evaluate", bundle, few, *MAP)
    assert result["n_speakers"] == 5 and result["intervals"] == {"wa": None, "ua": None}
    assert "Too few speakers: an interval needs at least 6." in result["notes"]
    nobody = part_of(corpus, tmp_path / "m.csv", lambda lines: [",".join([*x.split(",")[:2], "", ""]) for x in lines])
    result = found("evaluate", bundle, nobody, *MAP)
    assert result["n_speakers"] == 0 and result["intervals"]["ua"] is None and result["by_gender"] == {}
    assert any("names no speakers" in note for note in result["notes"])
    some = part_of(corpus, tmp_path / "m.csv", lambda lines: [lines[0].replace("s0", ""), *lines[1:]])
    result = found("evaluate", bundle, some, *MAP)
    assert result["n_speakers"] == 8
    assert any(note.startswith("Utterances without a speaker (1) count as one speaker's") for note in result["notes"])


def test_unreadable_utterances_are_named_left_out_and_counted(bundle, other, corpus, tmp_path):
    broken = part_of(corpus, tmp_path / "m.csv", lambda lines: [*lines, "gone.wav,hum,s1,M"])
    for command, words in (("evaluate", [bundle]), ("compare", [bundle, other])):
        done = run(command, *words, broken, *MAP, "--json")
        result = json.loads(done.stdout)
        assert done.exit_code == 1 and result["n_skipped"] == 1 and result["n_utterances"] == 45
        assert f"skipped: {corpus.parent}/gone.wav does not exist" in done.stderr


def test_a_covariate_is_read_from_the_column_of_its_name_or_given(corpus, tmp_path):
    gendered = write_bundle(tmp_path / "gendered", covariate="{source: label}", seed=3)
    own = found("evaluate", gendered, corpus, *MAP)
    assert own == found("evaluate", gendered, corpus, *MAP, "--covariate", "gender=@gender")
    women = found("evaluate", gendered, corpus, *MAP, "--covariate", "gender=F")
    assert women["calibration_error"] != own["calibration_error"]
    without = part_of(corpus, tmp_path / "m.csv", lambda lines: [line[:-1] for line in lines])
    done = run("evaluate", gendered, without, *MAP)
    assert done.exit_code == 2 and "--covariate gender=F (it knows F, M)" in done.stderr
    done = run("evaluate", gendered, corpus, *MAP, "--covariate", "gender=@sex")
    assert done.exit_code == 2 and "has no column 'sex'; found id, path, label, speaker, gender." in done.stderr
    done = run("evaluate", gendered, corpus, *MAP, "--covariate", "gendre=F")
    assert done.exit_code == 2 and "Did you mean 'gender'?" in done.stderr


def test_two_systems_are_compared_speaker_by_speaker(bundle, other, corpus):
    """The sign-flip test by hand: each speaker's share of the difference in WA."""
    result = found("compare", bundle, other, corpus, *MAP)
    speakers, reference, first, _ = by_hand(bundle, corpus)
    _, _, second, _ = by_hand(other, corpus)
    gains = [int(b == r) - int(a == r) for a, b, r in zip(first, second, reference, strict=True)]
    difference = result["differences"]["wa"]
    assert any(gains) and difference["difference"] == pytest.approx(sum(gains) / 45)
    shares = [sum(g for g, s in zip(gains, speakers, strict=True) if s == f"s{n}") / 45 for n in range(8)]
    assert difference["p"] == pytest.approx(sign_flip_test(shares))
    corrected = [result["differences"][metric]["p_corrected"] for metric in ("wa", "ua")]
    assert corrected == pytest.approx(holm([result["differences"][metric]["p"] for metric in ("wa", "ua")]))
    low, high = difference["interval"]
    assert low <= difference["difference"] <= high
    assert result["n_utterances"] == 45 and result["n_speakers"] == 8
    for system, name, predicted in zip(result["systems"], (bundle, other), (first, second), strict=True):
        assert system["bundle"] == str(name)
        assert system["wa"] == pytest.approx(accuracy_score(reference, predicted))
        assert system["ua"] == pytest.approx(balanced_accuracy_score(reference, predicted))
    page = run("compare", bundle, other, corpus, *MAP).stdout
    assert f"{100 * result['systems'][1]['wa']:.2f}" in page and "B minus A" in page and "Holm" in page


def test_too_few_speakers_have_no_test(bundle, other, corpus, tmp_path):
    few = part_of(corpus, tmp_path / "m.csv", lambda lines: lines[:30])
    result = found("compare", bundle, other, few, *MAP)
    for difference in result["differences"].values():
        assert (difference["p"], difference["interval"], difference["verdict"]) == (
            None,
            None,
            "too few speakers to tell",
        )
    assert any("Too few speakers" in note for note in result["notes"])


def test_with_an_utterance_of_an_unnamed_speaker_there_is_no_test_and_a_reason(bundle, other, corpus, tmp_path):
    some = part_of(corpus, tmp_path / "m.csv", lambda lines: [lines[0].replace("s0", ""), *lines[1:]])
    result = found("compare", bundle, other, some, *MAP)
    assert {d["verdict"] for d in result["differences"].values()} == {"unnamed speakers: no test"}
    notes = " ".join(result["notes"])
    assert "Name every speaker, or leave these utterances out." in notes and "Too few" not in notes


def test_systems_with_other_classes_and_one_system_alone_are_not_compared(bundle, corpus, tmp_path):
    third = write_bundle(tmp_path / "third", labels=["noise", "hum"])
    done = run("compare", bundle, third, corpus, *MAP)
    assert done.exit_code == 2 and "noise, tone and" in done.stderr and "noise, hum" in done.stderr
    done = run("compare", bundle, bundle, corpus, *MAP)
    assert done.exit_code == 2 and "compared with itself" in done.stderr


def test_a_covariate_goes_to_the_system_that_needs_it(bundle, corpus, tmp_path):
    gendered = write_bundle(tmp_path / "gendered", covariate="{source: label}", seed=3)
    result = found("compare", bundle, gendered, corpus, *MAP, "--covariate", "gender=F")
    alone = found("evaluate", gendered, corpus, *MAP, "--covariate", "gender=F")
    assert result["systems"][1]["wa"] == pytest.approx(alone["wa"])
    done = run("compare", bundle, gendered, corpus, *MAP, "--covariate", "age=F")
    assert done.exit_code == 2 and "no covariate 'age'" in done.stderr


def test_stamps_are_printed_and_kept(corpus, bundle, tmp_path):
    stamped = write_bundle(tmp_path / "stamped", seed=3, stamps=["random weights"])
    done = run("evaluate", stamped, corpus, *MAP, "--json")
    assert json.loads(done.stdout)["stamps"] == ["random weights"] and "NOTE: random weights" in done.stderr
    assert "NOTE: random weights" in run("evaluate", stamped, corpus, *MAP).stdout
    done = run("compare", bundle, stamped, corpus, *MAP, "--json")
    assert [system["stamps"] for system in json.loads(done.stdout)["systems"]] == [[], ["random weights"]]
    assert f"NOTE: {stamped}: random weights" in done.stderr
